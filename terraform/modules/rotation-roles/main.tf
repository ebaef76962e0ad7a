# What rotations do to secrets and services, as roles without any other permission. Each clinic binds them on its own.
# They stay when they are destroyed: see provision.

resource "google_project_iam_custom_role" "secrets" {
  role_id         = "${var.prefix}_secrets"
  title           = "OpenEMR: rotate a secret"
  description     = "Add versions to a secret, read, disable and destroy them, and say which one is current."
  deletion_policy = "ABANDON"
  permissions = [
    "secretmanager.secrets.get",
    "secretmanager.secrets.update",
    "secretmanager.versions.access",
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.versions.disable",
    "secretmanager.versions.enable",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
  ]
}

resource "google_project_iam_custom_role" "revisions" {
  role_id         = "${var.prefix}_revisions"
  title           = "OpenEMR: bring a service to another revision"
  description     = "Make revisions of a Cloud Run service, move its traffic, and see how that goes."
  deletion_policy = "ABANDON"
  permissions = [
    "run.revisions.get",
    "run.revisions.list",
    "run.services.get",
    "run.services.update",
  ]
}
