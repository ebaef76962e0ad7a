variable "clinic" {
  description = "The clinic's name."
  type        = string
}

variable "names" {
  description = "Ids of the service accounts."
  type = object({
    init = string
    web  = string
  })
}
