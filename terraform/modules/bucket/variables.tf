variable "labels" {
  description = "Labels of the bucket."
  type        = map(string)
  default     = {}
}

variable "location" {
  description = "Region of the bucket."
  type        = string
}

variable "name" {
  description = "Name of the bucket; shared by the whole world."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the bucket."
  type        = bool
  default     = true
}

variable "retention" {
  description = <<-EOT
    How long content stays, in days. `noncurrent_days`: overwritten and deleted objects (null: no versioning); the
    newest `noncurrent_versions` of each stay longer than that. `current_days`: everything else (null: for good).
    `soft_delete_days`: what nobody can see any more but an administrator can bring back.
  EOT
  type = object({
    current_days        = optional(number)
    noncurrent_days     = optional(number)
    noncurrent_versions = optional(number)
    soft_delete_days    = optional(number, 7)
  })
  default = {}
  validation {
    condition     = var.retention.soft_delete_days == 0 || (var.retention.soft_delete_days >= 7 && var.retention.soft_delete_days <= 90)
    error_message = "Cloud Storage keeps deleted objects for 7 to 90 days; write 0 to keep none."
  }
}
