resource "google_service_account" "default" {
  account_id   = var.account
  display_name = "Gives clinics their directory, schemas and users"
}

# The job makes itself a temporary administrator in Cloud SQL. Cloud SQL has no IAM policy below the project, so the
# roles are granted there, with no other permission in them; the condition keeps the one that changes something to this
# environment's instance.
resource "google_project_iam_member" "users" {
  project = var.project
  role    = var.roles.users
  member  = google_service_account.default.member

  condition {
    title       = "only ${var.database_instance}"
    description = "This environment's instance and no other of the project."
    expression  = "resource.name == \"projects/${var.project}/instances/${var.database_instance}\""
  }
}

# Operations have names of their own, so that a condition on the instance's name would hide them.
resource "google_project_iam_member" "operations" {
  project = var.project
  role    = var.roles.operations
  member  = google_service_account.default.member
}
