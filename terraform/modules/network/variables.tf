variable "cidr" {
  description = "Range of the subnet."
  type        = string
}

variable "names" {
  description = "Names of the network's parts."
  type = object({
    nat     = string
    network = string
    router  = string
    subnet  = string
  })
}

variable "region" {
  description = "Region of the subnet."
  type        = string
}
