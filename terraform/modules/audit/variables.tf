variable "names" {
  description = "Names of the log bucket and of the sink that fills it."
  type = object({
    bucket = string
    sink   = string
  })
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the log bucket."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region in which the logs are kept."
  type        = string
}

variable "retention_days" {
  description = "How long audit logs stay."
  type        = number
  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 3650
    error_message = "Cloud Logging keeps logs for 1 to 3650 days: write retention_days = 400, or what your rules ask for."
  }
}

variable "services" {
  description = "Services of which reads and writes of data are logged, such as storage.googleapis.com."
  type        = set(string)
}
