output "names" {
  description = "Full names of the roles, by what they are for: operations, revisions, secrets, users."
  value       = { for what, role in google_project_iam_custom_role.default : what => role.name }
}
