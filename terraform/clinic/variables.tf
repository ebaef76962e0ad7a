variable "admin_user" {
  description = "OpenEMR's first administrator."
  type        = string
  default     = "admin"
}

variable "backup_bucket" {
  description = "Bucket for backup sets and the records of job runs: an output of the foundation."
  type        = string
}

variable "backups" {
  description = <<-EOT
    How many sets stay by generation, how much of their data a verification reads (percent), and after how many days
    without a drill an alert comes.
  EOT
  type = object({
    drill_days   = optional(number, 15)
    read_percent = optional(number, 5)
    keep = optional(object({
      daily   = optional(number, 7)
      monthly = optional(number, 12)
      weekly  = optional(number, 5)
      yearly  = optional(number, 7)
    }), {})
  })
  default = {}
}

variable "clinic" {
  description = "The clinic's name: its folder in the backup bucket."
  type        = string
}

variable "images" {
  description = "Images by digest."
  type = object({
    job     = string
    service = string
  })
  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", image))])
    error_message = "Name images by their digest (…@sha256:…): a tag says nothing about what would run."
  }
}

variable "jobs" {
  description = "Which of the clinic's jobs exist: nfs-init, background, backup, verify, drill, prune, rotate, redis-passwords, upgrade."
  type        = set(string)
  default     = ["nfs-init"]
  validation {
    condition     = contains(var.jobs, "nfs-init") && alltrue([for job in var.jobs : contains(["nfs-init", "background", "backup", "verify", "drill", "prune", "rotate", "redis-passwords", "upgrade"], job)])
    error_message = "Name jobs of nfs-init, background, backup, verify, drill, prune, rotate, redis-passwords and upgrade; nfs-init is always among them."
  }
  validation {
    condition     = contains(var.jobs, "rotate") == contains(var.jobs, "redis-passwords")
    error_message = "A rotation starts the job redis-passwords: name both in jobs, or neither."
  }
}

variable "labels" {
  description = "Labels for everything that takes them."
  type        = map(string)
  default     = {}
}

variable "names" {
  description = "Names of the clinic's resources, made by gcp-openemr."
  type = object({
    admin_password_secret    = string
    background_job           = string
    backup_account           = string
    backup_job               = string
    backup_password_secret   = string
    database_password_secret = string
    database_user            = string
    drill_job                = string
    init_account             = string
    kept_schema              = string
    nfs_init_job             = string
    prune_account            = string
    prune_job                = string
    redis_passwords_job      = string
    redis_password_secret    = string
    redis_prefix             = string
    redis_user               = string
    rotate_account           = string
    rotate_job               = string
    schedule_account         = string
    schema                   = string
    scratch_schema           = string
    service                  = string
    share_path               = string
    staging_schema           = string
    upgrade_job              = string
    verify_job               = string
    web_account              = string
  })
}

variable "openemr" {
  description = "OpenEMR's version, such as 7.0.4; the jobs' where it is another one, on the way back from an upgrade."
  type        = object({ jobs = optional(string), version = string })
}

variable "platform" {
  description = "Outputs of the platform."
  type = object({
    channels  = optional(set(string), [])
    database  = object({ host = string, port = number, server_ca = string })
    files     = object({ address = string })
    network   = object({ network = string, subnetwork = string })
    provision = optional(object({ account = string }))
    redis     = object({ host = string, port = number, admin_secret = optional(string, "") })
    rotation  = optional(object({ revisions = string, secrets = string }))
  })
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete the service and the secrets."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region of everything."
  type        = string
}

variable "restore" {
  description = "A backup to begin with, used once, when the clinic's storage is empty; null begins with an empty OpenEMR."
  type = object({
    source = string
    uri    = string
  })
  default = null
  validation {
    condition     = var.restore == null || contains(["gcs", "drive"], try(var.restore.source, ""))
    error_message = "Write source = \"gcs\" or source = \"drive\"."
  }
  validation {
    condition     = try(var.restore.source, "") != "gcs" || can(regex("^gs://[^/]+/.+$", var.restore.uri))
    error_message = "Write the uri of a backup in Cloud Storage as gs://BUCKET/OBJECT."
  }
}

variable "rotation" {
  description = <<-EOT
    After how many days a password is changed, which of them are (database, redis, admin, backup), and the bucket with the
    environment's lock.
  EOT
  type = object({
    every_days   = optional(number, 90)
    secrets      = optional(set(string), ["admin", "backup", "database", "redis"])
    state_bucket = optional(string, "")
  })
  default = {}
  validation {
    condition     = !contains(var.jobs, "rotate") || var.rotation.state_bucket != ""
    error_message = "A rotation holds the environment's lock: name the bucket it lies in as rotation.state_bucket."
  }
}

variable "schedules" {
  description = "When jobs start by themselves: the job's short word, five fields of cron, and the time zone they are meant in."
  type = map(object({
    cron      = string
    time_zone = optional(string, "Etc/UTC")
  }))
  default = {}
  validation {
    condition     = alltrue([for job in keys(var.schedules) : contains(var.jobs, job)])
    error_message = "A schedule needs its job: name it in jobs too."
  }
}

variable "secret_versions" {
  description = "The version of each secret that the clinic runs with, by number; null while there are none."
  type = object({
    admin_password    = string
    database_password = string
    redis_password    = string
  })
  default = null
  validation {
    condition     = var.secret_versions == null || alltrue([for version in values(coalesce(var.secret_versions, {})) : can(regex("^[1-9][0-9]*$", version))])
    error_message = "Pin secrets to a version's number, such as \"1\": with \"latest\" the instances of one revision could hold different passwords."
  }
}

variable "serve" {
  description = "Whether the service exists. It is the last thing to be made, after the clinic's storage is ready."
  type        = bool
  default     = true
  validation {
    condition     = !var.serve || var.secret_versions != null
    error_message = "A service needs secret_versions: add the secrets' first versions, then set serve = true."
  }
}

variable "service" {
  description = <<-EOT
    The Cloud Run service. `concurrency` is the number of requests an instance takes at once; `timeout` is in seconds;
    `environment` adds environment variables; `public_url` is the address people use.
  EOT
  type = object({
    concurrency   = optional(number, 20)
    cpu           = optional(string, "2")
    environment   = optional(map(string), {})
    ingress       = optional(string, "all")
    max_instances = optional(number, 3)
    memory        = optional(string, "4Gi")
    min_instances = optional(number, 0)
    public_access = optional(bool, false)
    public_url    = optional(string, "")
    timeout       = optional(number, 300)
    vpc_egress    = optional(string, "PRIVATE_RANGES_ONLY")
  })
  default = {}
  validation {
    condition     = contains(["all", "internal", "internal-and-cloud-load-balancing"], var.service.ingress)
    error_message = "Write ingress as all, internal or internal-and-cloud-load-balancing."
  }
  validation {
    condition     = contains(["ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"], var.service.vpc_egress)
    error_message = "Write vpc_egress as PRIVATE_RANGES_ONLY or ALL_TRAFFIC."
  }
  validation {
    condition     = var.service.min_instances <= var.service.max_instances && var.service.max_instances >= 1
    error_message = "max_instances must be at least 1 and not less than min_instances."
  }
  validation {
    condition     = var.service.timeout >= 1 && var.service.timeout <= 3600
    error_message = "Cloud Run lets a request take up to an hour: write timeout as 1 to 3600 seconds."
  }
}

variable "upgrade" {
  description = "The job `upgrade` while an upgrade is under way: between which versions, its image by digest; on the way back, to which backup set and how far it has come; whether it only rehearses."
  type        = object({ back = string, from = string, image = string, rehearsal = bool, set = string, to = string })
  default     = null
}
