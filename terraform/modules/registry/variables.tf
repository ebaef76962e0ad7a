variable "labels" {
  description = "Labels of the repository."
  type        = map(string)
  default     = {}
}

variable "name" {
  description = "Id of the repository."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the repository."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region of the repository."
  type        = string
}

variable "writers" {
  description = "IAM members that may push images, by role in the stack."
  type        = map(string)
  default     = {}
}
