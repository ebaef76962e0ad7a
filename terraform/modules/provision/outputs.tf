output "email" {
  description = "Email of the account, known once it may do its work."
  value       = google_service_account.default.email
  depends_on  = [google_project_iam_member.users, google_project_iam_member.operations]
}

output "member" {
  description = "The account as an IAM member."
  value       = google_service_account.default.member
}
