output "ids" {
  description = "Full names (projects/PROJECT/secrets/SECRET), by what the secrets are for."
  value       = { for key, secret in google_secret_manager_secret.default : key => secret.id }
}

output "names" {
  description = "Short names, by what the secrets are for."
  value       = { for key, secret in google_secret_manager_secret.default : key => secret.secret_id }
}
