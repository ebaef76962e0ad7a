# Containers and who may read them. Values are added by the orchestrator, never here: a version in Terraform would be in
# its state, and an apply could bring an old one back.

locals {
  _readers = flatten([
    for key, secret in var.secrets : [
      for role, member in secret.readers : { key = "${key}/${role}", secret = key, member = member }
    ]
  ])
  readers = { for reader in local._readers : reader.key => reader }
}

resource "google_secret_manager_secret" "default" {
  for_each            = var.secrets
  secret_id           = each.value.name
  labels              = var.labels
  deletion_protection = var.protect
  # A version destroyed by mistake can be brought back for a week.
  version_destroy_ttl = "604800s"

  # The values stay in the region of the data they open, and do not depend on any other.
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  # Aliases name versions, which are the orchestrator's.
  lifecycle {
    ignore_changes = [version_aliases]
  }
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.readers
  project   = var.project
  secret_id = google_secret_manager_secret.default[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}
