variable "accounts" {
  description = "By what they are for: each account's id, and what it does in a few words."
  type = map(object({
    id    = string
    title = string
  }))
}

variable "clinic" {
  description = "The clinic's name."
  type        = string
}
