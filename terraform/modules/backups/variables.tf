variable "bucket" {
  description = "Bucket that the environment's clinics share for backups and the records of job runs."
  type        = string
}

variable "clinic" {
  description = "The clinic's name."
  type        = string
}

variable "restore" {
  description = "A backup in Cloud Storage with which the clinic begins, and the IAM member that reads it."
  type = object({
    bucket = string
    object = string
    reader = string
  })
  default = null
}

variable "store" {
  description = <<-EOT
    The clinic's backup sets: their managed folder (`clinics/CLINIC/backups/`), the name of the secret with their
    password, the IAM members that make and check sets, those that only read them, and those that only see whether a set
    is verified, by role in the stack.
  EOT
  type = object({
    folder    = string
    makers    = map(string)
    project   = string
    readers   = map(string)
    secret    = string
    witnesses = map(string)
  })
}

variable "writers" {
  description = "IAM members that leave records of job runs, by role in the stack. They can add objects, not read, replace or delete them."
  type        = map(string)
  default     = {}
}
