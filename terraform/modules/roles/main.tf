# The environment's custom roles: Google's own would permit more than the work takes. Platform and clinics bind them. They
# stand in the foundation, because whoever could both change a role and bind it could give himself every right.
#
# Google keeps the id of a deleted role for 37 days, of which it can be brought back in seven; so roles stay, without
# members, and the next bootstrap or deploy takes them over.

locals {
  roles = {
    operations = {
      title = "OpenEMR: wait for Cloud SQL"
      # Cloud SQL asks for this permission to show how a change goes on.
      description = "Read the settings of Cloud SQL instances and how their operations go on."
      permissions = ["cloudsql.instances.get"]
    }
    revisions = {
      title       = "OpenEMR: bring a service to another revision"
      description = "Make revisions of a Cloud Run service, move its traffic, and see how that goes."
      permissions = [
        "run.revisions.get",
        "run.revisions.list",
        "run.services.get",
        "run.services.update",
      ]
    }
    secrets = {
      title       = "OpenEMR: rotate a secret"
      description = "Add versions to a secret, read, disable and destroy them, and say which one is current."
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
    users = {
      title       = "OpenEMR: temporary database administrator"
      description = "Make and remove the provision job's user of a Cloud SQL instance."
      permissions = [
        "cloudsql.users.create",
        "cloudsql.users.delete",
        "cloudsql.users.get",
        "cloudsql.users.list",
        "cloudsql.users.update",
      ]
    }
  }
}

resource "google_project_iam_custom_role" "default" {
  for_each        = local.roles
  role_id         = "${var.prefix}_${each.key}"
  title           = each.value.title
  description     = each.value.description
  permissions     = each.value.permissions
  deletion_policy = "ABANDON"
}
