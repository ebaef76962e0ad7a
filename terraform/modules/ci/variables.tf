variable "buckets" {
  description = "Names of the environment's buckets."
  type = object({
    backups = string
    build   = string
    state   = string
  })
}

variable "grantable" {
  description = "The roles that the deployer and the destroyer may bind on the project, and no others."
  type        = list(string)
  validation {
    condition     = length(var.grantable) <= 10
    error_message = "Google compares with ten roles at most."
  }
}

variable "identities" {
  description = "The planner, the deployer and the destroyer: the id of the account, the permissions of its role on the project, and what it does in a few words."
  type = map(object({
    account     = string
    permissions = set(string)
    purpose     = string
  }))
  validation {
    condition     = toset(keys(var.identities)) == toset(["deployer", "destroyer", "planner"])
    error_message = "Name the three identities: planner, deployer and destroyer."
  }
}

variable "pool" {
  description = "Id of the workload identity pool."
  type        = string
}

variable "project" {
  description = "Google Cloud project id."
  type        = string
}

variable "trust" {
  description = <<-EOT
    Whose jobs are let in: the provider, who signs its tokens, the repository (and its number, where that is to hold too),
    the branch that deploys, and the provider's environments that a deploy and a destroy run in.
  EOT
  type = object({
    branch              = string
    destroy_environment = string
    environment         = optional(string, "")
    issuer              = optional(string, "")
    provider            = string
    repository          = string
    repository_id       = optional(string, "")
  })
  validation {
    condition     = contains(["cloudbuild", "github", "gitlab"], var.trust.provider)
    error_message = "Write provider = \"github\", \"gitlab\" or \"cloudbuild\"."
  }
  validation {
    condition     = !strcontains("${var.trust.repository}${var.trust.repository_id}", "\"")
    error_message = "A repository's name holds no quotation mark: it stands in the condition of who is let in."
  }
}
