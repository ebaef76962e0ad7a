# Who may do what with the clinic's backup sets. The folders and the password are the foundation's, and outlive the clinic.

locals {
  _members = merge(var.store.makers, var.store.readers)
  # Witnesses see that a set is there and verified, and nothing of what it holds.
  _rights = {
    makers    = { "" = ["roles/storage.objectViewer", "roles/storage.objectCreator"], "repository/locks/" = ["roles/storage.objectUser"], "sets/" = ["roles/storage.objectUser"] }
    readers   = { "" = ["roles/storage.objectViewer"], "repository/locks/" = ["roles/storage.objectUser"] }
    witnesses = { "sets/" = ["roles/storage.objectViewer"] }
  }
  _store = flatten([
    for kind, members in { makers = var.store.makers, readers = var.store.readers, witnesses = var.store.witnesses } : [
      for name, member in members : [
        for folder, roles in local._rights[kind] : [
          for role in roles : { key = "${name}/${folder}${split(".", role)[1]}", folder = folder, member = member, role = role }
        ]
      ]
    ]
  ])
  store = { for right in local._store : right.key => right }
}

resource "google_storage_managed_folder_iam_member" "store" {
  for_each       = local.store
  bucket         = var.bucket
  managed_folder = "${var.store.folder}${each.value.folder}"
  role           = each.value.role
  member         = each.value.member
}

resource "google_secret_manager_secret_iam_member" "password" {
  for_each  = local._members
  project   = var.store.project
  secret_id = var.store.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}

# A drill tells how long a restore takes, a backup how long ago the last drill was.
resource "google_project_iam_member" "metrics" {
  for_each = var.store.makers
  project  = var.store.project
  role     = "roles/monitoring.metricWriter"
  member   = each.value
}
