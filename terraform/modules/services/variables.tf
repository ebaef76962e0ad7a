variable "services" {
  description = "APIs to enable, by full name."
  type        = set(string)
}
