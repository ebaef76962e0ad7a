variable "account" {
  description = "Id of the account that starts jobs; made when there is a schedule."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "region" {
  description = "Region of the jobs and their schedules."
  type        = string
}

variable "schedules" {
  description = "By what they are for: the job's short name, and when it starts, in the words of cron and in a time zone's own time."
  type = map(object({
    cron      = string
    job       = string
    time_zone = string
  }))
  default = {}
  validation {
    condition     = alltrue([for schedule in values(var.schedules) : length(split(" ", schedule.cron)) == 5])
    error_message = "Write cron with its five fields, such as \"30 2 * * *\" for half past two every night."
  }
}

variable "title" {
  description = "What the account is called where people see it."
  type        = string
}
