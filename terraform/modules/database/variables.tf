variable "labels" {
  description = "Labels for everything that takes them."
  type        = map(string)
  default     = {}
}

variable "names" {
  description = "Names of the instance, of its endpoint's address and of its DNS zone."
  type = object({
    address  = string
    instance = string
    zone     = string
  })
}

variable "network" {
  description = "Full name of the network from which the database is reached."
  type        = string
}

variable "project" {
  description = "Google Cloud project id: the only one that may connect."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the instance, here and in Cloud SQL; keep its backups if it is deleted all the same."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region of the instance."
  type        = string
}

variable "settings" {
  description = "Size, availability and backups of the instance."
  type = object({
    availability_type = string
    backups           = bool
    database_version  = string
    disk_size_gb      = number
    edition           = string
    tier              = string
  })
}

variable "subnetwork" {
  description = "Full name of the subnetwork that gives the endpoint its address."
  type        = string
}

variable "zone" {
  description = "Preferred zone of the primary."
  type        = string
}
