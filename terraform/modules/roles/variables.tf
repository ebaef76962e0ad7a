variable "prefix" {
  description = "What the roles' ids begin with."
  type        = string
}
