variable "alerts" {
  description = <<-EOT
    Alerts by what they are about: a title, a severity, what to do, and either `metric` (a value that crosses a
    threshold for some seconds) or `log` (a filter for lines that should not come).
  EOT
  type = map(object({
    do       = string
    log      = optional(string)
    severity = optional(string, "ERROR")
    title    = string
    metric = optional(object({
      aligner    = optional(string, "ALIGN_MAX")
      comparison = optional(string, "COMPARISON_GT")
      filter     = string
      missing    = optional(string)
      reducer    = optional(string)
      seconds    = optional(number, 0)
      threshold  = number
      window     = optional(number, 300)
    }))
  }))
  default = {}
  validation {
    condition     = alltrue([for alert in values(var.alerts) : (alert.metric == null) != (alert.log == null)])
    error_message = "Give each alert either metric or log, not both and not neither."
  }
}

variable "channels" {
  description = "Notification channels that exist already: projects/PROJECT/notificationChannels/NUMBER."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for channel in var.channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "Write each channel by its full name: projects/PROJECT/notificationChannels/NUMBER."
  }
}

variable "emails" {
  description = "Addresses for which a channel is made."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "Write each address as name@example.org."
  }
}

variable "labels" {
  description = "Labels for everything that takes them."
  type        = map(string)
  default     = {}
}

variable "prefix" {
  description = "What the names of alerts begin with."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "uptime" {
  description = "Host and path that is asked from outside every five minutes; null where nobody outside may ask."
  type = object({
    host = string
    path = string
  })
  default = null
}
