variable "alerts" {
  description = "Who hears of alerts: addresses for which a channel is made, and channels that exist already. `prefix` begins their names."
  type = object({
    channels = optional(set(string), [])
    emails   = optional(set(string), [])
    prefix   = optional(string, "OpenEMR")
  })
  default = {}
}

variable "backup_bucket" {
  description = "Bucket for backup sets and the records of job runs: an output of the foundation."
  type        = string
}

variable "database" {
  description = <<-EOT
    The Cloud SQL instance. `backups` are Cloud SQL's own, with point-in-time recovery. `disk_size_gb` is where the disk
    starts; it grows by itself.
  EOT
  type = object({
    availability_type = optional(string, "REGIONAL")
    backups           = optional(bool, true)
    database_version  = optional(string, "MYSQL_8_0")
    disk_size_gb      = optional(number, 10)
    edition           = optional(string, "ENTERPRISE")
    tier              = string
  })
  validation {
    condition     = contains(["REGIONAL", "ZONAL"], var.database.availability_type)
    error_message = "Write availability_type as REGIONAL (a standby in a second zone) or ZONAL."
  }
  validation {
    condition     = var.database.availability_type == "ZONAL" || var.database.backups
    error_message = "A REGIONAL instance needs backups: write backups = true, or availability_type = \"ZONAL\"."
  }
  validation {
    condition     = var.database.database_version == "MYSQL_8_0"
    error_message = "Only MYSQL_8_0 is known to keep two passwords during a rotation: write database_version = \"MYSQL_8_0\"."
  }
}

variable "files" {
  description = <<-EOT
    The machine that exports the share and runs Redis. `disk_size_gb` can grow, never shrink; snapshots of the disk stay
    `snapshot_days` (0: none are made); without `nfs_v3` only NFS 4 is spoken; `ssh_members` may log in by SSH.
  EOT
  type = object({
    disk_size_gb  = optional(number, 20)
    image         = optional(string, "debian-cloud/debian-12")
    machine_type  = optional(string, "e2-small")
    nfs_v3        = optional(bool, true)
    snapshot_days = optional(number, 14)
    ssh_members   = optional(set(string), [])
  })
  default = {}
  validation {
    condition     = var.files.disk_size_gb >= 10
    error_message = "A persistent disk has at least 10 GB: write disk_size_gb = 10 or more."
  }
  validation {
    condition     = var.files.snapshot_days >= 0 && var.files.snapshot_days <= 65535
    error_message = "Write snapshot_days as the days that a snapshot stays, or 0 for none."
  }
  validation {
    condition     = alltrue([for member in var.files.ssh_members : can(regex("^(user|group|serviceAccount):", member))])
    error_message = "Write those who may log in as IAM members, such as \"user:it@clinic.example\" or \"group:it@clinic.example\"."
  }
}

variable "labels" {
  description = "Labels for everything that takes them."
  type        = map(string)
  default     = {}
}

variable "names" {
  description = "Names of the resources, made by gcp-openemr."
  type = object({
    database_address   = string
    database_instance  = string
    dns_zone           = string
    files_account      = string
    files_address      = string
    files_disk         = string
    files_health       = string
    files_instance     = string
    files_snapshots    = string
    nat                = string
    network            = string
    provision_account  = string
    provision_job      = string
    redis_admin_secret = string
    router             = string
    subnet             = string
  })
}

variable "network" {
  description = "Range of the one subnet: Cloud Run's instances, the database's endpoint and the files machine."
  type        = object({ cidr = optional(string, "10.60.0.0/22") })
  default     = {}
  validation {
    condition     = can(cidrhost(var.network.cidr, 0)) && try(tonumber(split("/", var.network.cidr)[1]), 32) <= 22
    error_message = "Cloud Run holds many addresses for each instance, for 20 minutes after it ended: write a range of /22 or larger, such as 10.60.0.0/22."
  }
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete what holds patients' data or passwords."
  type        = bool
  default     = true
}

variable "provision" {
  description = "The job that gives clinics their directory, schemas and users; null leaves it out until its image exists."
  type = object({
    image               = string
    redis_admin_version = string
    timeout             = optional(number, 1800)
  })
  default = null
  validation {
    condition     = var.provision == null || can(regex("@sha256:[0-9a-f]{64}$", var.provision.image))
    error_message = "Name the image by its digest (…@sha256:…): a tag says nothing about what would run."
  }
  validation {
    condition     = var.provision == null || can(regex("^[1-9][0-9]*$", var.provision.redis_admin_version))
    error_message = "Pin redis_admin_version to a version's number, such as \"1\"."
  }
}

variable "region" {
  description = "Region of everything."
  type        = string
}

variable "roles" {
  description = "Full names of the environment's custom roles, by what they are for: an output of the foundation."
  type        = object({ operations = string, revisions = string, secrets = string, users = string })
}

variable "zone" {
  description = "Zone of the files machine and of the primary database, so that they are close together."
  type        = string
  validation {
    condition     = startswith(var.zone, "${var.region}-")
    error_message = "The zone must lie in the region: pages take seconds when the database is elsewhere."
  }
}
