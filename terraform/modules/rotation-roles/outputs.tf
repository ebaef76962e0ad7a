output "revisions" {
  description = "Full name of the role that moves a service to another revision."
  value       = google_project_iam_custom_role.revisions.name
}

output "secrets" {
  description = "Full name of the role that rotates a secret."
  value       = google_project_iam_custom_role.secrets.name
}
