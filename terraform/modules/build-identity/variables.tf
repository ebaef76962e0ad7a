variable "name" {
  description = "Id of the service account."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "source_bucket" {
  description = "Bucket with the sources that the account builds from."
  type        = string
}
