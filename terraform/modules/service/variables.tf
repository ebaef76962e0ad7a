variable "account" {
  description = "Email of the service account as which the service runs."
  type        = string
}

variable "environment" {
  description = "Environment variables without secrets."
  type        = map(string)
  default     = {}
}

variable "image" {
  description = "Image, by digest."
  type        = string
}

variable "labels" {
  description = "Labels of the service and its revisions."
  type        = map(string)
  default     = {}
}

variable "name" {
  description = "Name of the service."
  type        = string
}

variable "network" {
  description = "Full names of the network and subnetwork in which instances have their address."
  type = object({
    network    = string
    subnetwork = string
  })
}

variable "protect" {
  description = "Refuse to delete the service."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "secret_environment" {
  description = "Environment variables from secrets, each pinned to a version's number."
  type = map(object({
    secret  = string
    version = string
  }))
  default = {}
  validation {
    condition     = alltrue([for secret in values(var.secret_environment) : can(regex("^[1-9][0-9]*$", secret.version))])
    error_message = "Pin secrets to a version's number, such as \"1\": with \"latest\" the instances of one revision could hold different passwords."
  }
}

variable "settings" {
  description = "Size, scaling, reach and limits of the service; `ingress` in the words of the environment file."
  type = object({
    concurrency   = number
    cpu           = string
    ingress       = string
    max_instances = number
    memory        = string
    min_instances = number
    public_access = bool
    timeout       = number
    vpc_egress    = string
  })
}

variable "share" {
  description = "NFS server and path of the clinic's sites, and where they are mounted. The path must exist before an instance starts."
  type = object({
    mount  = string
    path   = string
    server = string
  })
}
