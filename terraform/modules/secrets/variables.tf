variable "labels" {
  description = "Labels of the secrets."
  type        = map(string)
  default     = {}
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the secrets."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region in which the values are kept."
  type        = string
}

variable "secrets" {
  description = "Secrets by what they are for: their name, and the IAM members that may read values, by role in the stack."
  type = map(object({
    name    = string
    readers = map(string)
  }))
}
