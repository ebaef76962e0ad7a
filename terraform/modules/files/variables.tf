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
  description = "Names of the account, the address, the data disk, the health check, the machine's group and the snapshot schedule."
  type = object({
    account   = string
    address   = string
    disk      = string
    health    = string
    instance  = string
    snapshots = string
  })
}

variable "network" {
  description = "Full name of the network."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the data disk and the machine's group; keep snapshots when the disk is deleted all the same."
  type        = bool
  default     = true
}

variable "redis_admin_secret" {
  description = "Secret with the password of Redis's administrator: projects/PROJECT/secrets/SECRET."
  type        = string
}

variable "region" {
  description = "Region of the address and the snapshots."
  type        = string
}

variable "settings" {
  description = <<-EOT
    Machine type, boot image, size of the data disk; how many days snapshots stay (0: none are made); whether NFS 3 is
    offered beside 4; who may log in by SSH, as IAM members.
  EOT
  type = object({
    disk_size_gb  = number
    image         = string
    machine_type  = string
    nfs_v3        = bool
    snapshot_days = number
    ssh_members   = set(string)
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
