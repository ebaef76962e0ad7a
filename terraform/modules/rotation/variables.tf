variable "jobs" {
  description = "Short names of the jobs whose executions a rotation waits for, by what they do; its own is among them."
  type        = map(string)
}

variable "lock" {
  description = "The environment's lock: bucket and object."
  type        = object({ bucket = string, object = string })
}

variable "member" {
  description = "IAM member as which rotations run."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "redis_job" {
  description = "Short name of the job that gives the clinic's Redis user its passwords."
  type        = string
}

variable "redis_member" {
  description = "IAM member as which that job runs."
  type        = string
}

variable "region" {
  description = "Region of the service and the jobs."
  type        = string
}

variable "registry" {
  description = "The repository of the service's image; null where that is not this project's."
  type        = object({ location = string, project = string, repository = string })
  default     = null
}

variable "roles" {
  description = "The environment's roles for rotations: outputs of roles."
  type        = object({ revisions = string, secrets = string })
}

variable "secrets" {
  description = "Short names of the clinic's secrets, by what they are for; `redis_password` is one of them."
  type        = map(string)
}

variable "service" {
  description = "Short name of the service; null while there is none."
  type        = string
  default     = null
}

variable "store" {
  description = "The clinic's backup sets: bucket and managed folder (clinics/CLINIC/backups/)."
  type        = object({ bucket = string, folder = string })
}

variable "web_account" {
  description = "Full name of the service account as which the service runs."
  type        = string
}
