output "jobs" {
  description = "Full names of the clinic's jobs, by what they do."
  value       = { for name, job in module.job : name => job.name }
}

output "secrets" {
  description = "Full names of the clinic's secrets, by what they are for."
  value       = module.secrets.ids
}

output "service" {
  description = "The service's full name, its address and the email of its account; null while serve is false."
  value = var.serve ? {
    account = module.identity.accounts["web"].email
    name    = module.service[0].name
    uri     = module.service[0].uri
  } : null
}
