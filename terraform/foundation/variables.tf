variable "audit" {
  description = "Whether reads and writes of patients' data are logged, and for how many days all audit logs stay."
  type = object({
    data_access_logs = optional(bool, true)
    retention_days   = optional(number, 400)
  })
  default = {}
}

variable "ci" {
  description = "The pipeline that plans, deploys and destroys: whose jobs are let in, and by identity the permissions of its role and what it does. Null makes no identities."
  type = object({
    roles = map(object({
      permissions = set(string)
      purpose     = string
    }))
    trust = object({
      branch              = string
      destroy_environment = string
      environment         = optional(string, "")
      issuer              = optional(string, "")
      provider            = string
      repository          = string
      repository_id       = optional(string, "")
    })
  })
  default = null
}

variable "clinics" {
  description = "Clinics whose backups are kept here, by name: their backup password's secret and the account that prunes. A clinic that is gone stays, as its backups do."
  type = map(object({
    backup_password_secret = string
    prune_account          = string
  }))
  default = {}
}

variable "labels" {
  description = "Labels for everything that takes them."
  type        = map(string)
  default     = {}
}

variable "names" {
  description = "Names of the resources, made by gcp-openemr."
  type = object({
    backup_bucket     = string
    build_bucket      = string
    builder           = string
    ci_pool           = string
    deployer_account  = string
    destroyer_account = string
    log_bucket        = string
    log_sink          = string
    planner_account   = string
    provision_account = string
    registry          = string
    state_bucket      = string
  })
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "protect" {
  description = "Refuse to delete what holds images, backups or state."
  type        = bool
  default     = true
}

variable "region" {
  description = "Region of everything."
  type        = string
}

variable "services" {
  description = "APIs to enable, such as run.googleapis.com."
  type        = set(string)
  validation {
    condition     = alltrue([for service in var.services : endswith(service, ".googleapis.com")])
    error_message = "Write each API by its full name, such as run.googleapis.com."
  }
}
