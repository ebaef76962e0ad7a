# What of a clinic's backups outlives the clinic: its folder in the shared bucket, the password that encrypts what lies
# there, and the one identity that may delete from it.

resource "google_storage_managed_folder" "default" {
  bucket = var.bucket
  name   = "clinics/${var.clinic}/backups/"
  # Deletes the folder's policy; the objects stay in the bucket.
  force_destroy   = true
  deletion_policy = var.protect ? "PREVENT" : "DELETE"
}

# restic writes each file once; whoever backs up or reads has to replace and delete in locks and sets alone, and who
# changes the password in keys.
resource "google_storage_managed_folder" "changing" {
  for_each        = { keys = "repository/keys/", locks = "repository/locks/", sets = "sets/" }
  bucket          = var.bucket
  name            = "${google_storage_managed_folder.default.name}${each.value}"
  force_destroy   = true
  deletion_policy = var.protect ? "PREVENT" : "DELETE"
}

resource "google_service_account" "prune" {
  account_id   = var.names.account
  display_name = "OpenEMR of ${var.clinic}: prunes backups"
}

# Reads, adds and deletes objects of this folder, and may not change who else does.
resource "google_storage_managed_folder_iam_member" "prune" {
  bucket         = google_storage_managed_folder.default.bucket
  managed_folder = google_storage_managed_folder.default.name
  role           = "roles/storage.objectUser"
  member         = google_service_account.prune.member
}
