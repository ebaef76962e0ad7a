variable "clients" {
  description = "Range from which the share is mounted and Redis is reached."
  type        = string
}

variable "labels" {
  description = "Labels for everything that takes them."
  type        = map(string)
  default     = {}
}

variable "names" {
  description = "Names of the account, the address, the data disk and the machine."
  type = object({
    account  = string
    address  = string
    disk     = string
    instance = string
  })
}

variable "network" {
  description = "Full name of the network."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the data disk and the machine."
  type        = bool
  default     = true
}

variable "redis_admin_secret" {
  description = "Secret with the password of Redis's administrator: projects/PROJECT/secrets/SECRET."
  type        = string
}

variable "region" {
  description = "Region of the address."
  type        = string
}

variable "settings" {
  description = "Machine type, boot image, and size of the data disk."
  type = object({
    disk_size_gb = number
    image        = string
    machine_type = string
  })
}

variable "subnetwork" {
  description = "Full name of the subnetwork."
  type        = string
}

variable "zone" {
  description = "Zone of the machine and its disk."
  type        = string
}
