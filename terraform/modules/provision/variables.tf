variable "account" {
  description = "Id of the job's service account."
  type        = string
}

variable "database_instance" {
  description = "Name of the Cloud SQL instance in which the job makes its temporary administrator."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "roles" {
  description = "Full names of the roles that make and remove users of Cloud SQL and that see its operations: outputs of roles."
  type        = object({ operations = string, users = string })
}
