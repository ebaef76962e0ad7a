variable "labels" {
  description = "Labels for everything that takes them."
  type        = map(string)
  default     = {}
}

variable "names" {
  description = "Names of the resources, made by gcp-openemr."
  type = object({
    backup_bucket = string
    build_bucket  = string
    builder       = string
    registry      = string
    state_bucket  = string
  })
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete what holds images, backups or state."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region of everything."
  type        = string
}

variable "services" {
  description = "APIs to enable, such as run.googleapis.com."
  type        = set(string)
  validation {
    condition     = alltrue([for service in var.services : endswith(service, ".googleapis.com")])
    error_message = "Write each API by its full name, such as run.googleapis.com."
  }
}
