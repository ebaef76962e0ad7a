output "email" {
  description = "Email of the account."
  value       = google_service_account.default.email
}

output "member" {
  description = "The account as an IAM member."
  value       = google_service_account.default.member
}
