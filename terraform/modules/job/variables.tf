variable "account" {
  description = "Email of the service account as which the job runs."
  type        = string
}

variable "args" {
  description = "What the image's command is told to do."
  type        = list(string)
}

variable "egress" {
  description = "What leaves through the network: PRIVATE_RANGES_ONLY or ALL_TRAFFIC."
  type        = string
  default     = "PRIVATE_RANGES_ONLY"
}

variable "environment" {
  description = "Environment variables. No passwords: jobs read those from Secret Manager themselves."
  type        = map(string)
  default     = {}
}

variable "image" {
  description = "Image, by digest."
  type        = string
}

variable "labels" {
  description = "Labels of the job and its executions."
  type        = map(string)
  default     = {}
}

variable "limits" {
  description = "CPUs and memory of a task."
  type = object({
    cpu    = string
    memory = string
  })
}

variable "name" {
  description = "Name of the job."
  type        = string
}

variable "network" {
  description = "Full names of the network and subnetwork in which tasks have their address."
  type = object({
    network    = string
    subnetwork = string
  })
}

variable "region" {
  description = "Region of the job."
  type        = string
}

variable "share" {
  description = "NFS server and path, and where it is mounted; null mounts nothing. The path must exist before a task starts."
  type = object({
    mount  = string
    path   = string
    server = string
  })
  default = null
}

variable "timeout_seconds" {
  description = "How long a task may take."
  type        = number
  validation {
    condition     = var.timeout_seconds >= 60 && var.timeout_seconds <= 604800
    error_message = "Cloud Run lets a task take up to 168 hours: write 60 to 604800 seconds."
  }
}
