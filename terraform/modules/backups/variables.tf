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

variable "writers" {
  description = "IAM members that leave records of job runs, by role in the stack. They can add objects, not read, replace or delete them."
  type        = map(string)
  default     = {}
}
