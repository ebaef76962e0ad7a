variable "bucket" {
  description = "Bucket that the environment's clinics share for backups."
  type        = string
}

variable "clinic" {
  description = "The clinic's name."
  type        = string
}

variable "names" {
  description = "Id of the account that prunes."
  type        = object({ account = string })
}

variable "protect" {
  description = "Refuse to delete the folder."
  type        = bool
  default     = true
}
