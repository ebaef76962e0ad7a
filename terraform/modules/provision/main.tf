resource "google_service_account" "default" {
  account_id   = var.account
  display_name = "Gives clinics their directory, schemas and users"
}

# The job makes itself a temporary administrator in Cloud SQL. Cloud SQL has no IAM policy below the project, so the
# roles are granted there, with no other permission in them; the condition keeps the one that changes something to this
# environment's instance. Google keeps the id of a deleted role for 37 days, of which it can be brought back in seven; so
# roles stay, without members, and the next deploy takes them over.
resource "google_project_iam_custom_role" "users" {
  role_id         = "${local._role}_users"
  title           = "OpenEMR: temporary database administrator"
  description     = "Make and remove the provision job's user of a Cloud SQL instance."
  deletion_policy = "ABANDON"
  permissions = [
    "cloudsql.users.create",
    "cloudsql.users.delete",
    "cloudsql.users.get",
    "cloudsql.users.list",
    "cloudsql.users.update",
  ]
}

resource "google_project_iam_member" "users" {
  project = var.project
  role    = google_project_iam_custom_role.users.name
  member  = google_service_account.default.member

  condition {
    title       = "only ${var.database_instance}"
    description = "This environment's instance and no other of the project."
    expression  = "resource.name == \"projects/${var.project}/instances/${var.database_instance}\""
  }
}

# Cloud SQL asks for this permission to show how a change goes on. Operations have names of their own, so that a
# condition on the instance's name would hide them.
resource "google_project_iam_custom_role" "operations" {
  role_id         = "${local._role}_operations"
  title           = "OpenEMR: wait for Cloud SQL"
  description     = "Read the settings of Cloud SQL instances and how their operations go on."
  deletion_policy = "ABANDON"
  permissions     = ["cloudsql.instances.get"]
}

resource "google_project_iam_member" "operations" {
  project = var.project
  role    = google_project_iam_custom_role.operations.name
  member  = google_service_account.default.member
}

locals {
  # Ids of roles take no hyphens.
  _role = replace(var.account, "-", "_")
}
