# A managed folder has an IAM policy of its own. Conditions on a bucket's policy would not do: they cannot keep a clinic
# from listing another's objects.

resource "google_storage_managed_folder" "runs" {
  bucket = var.bucket
  name   = "clinics/${var.clinic}/runs/"
  # Deletes the folder's policy; the objects stay in the bucket.
  force_destroy = true
}

resource "google_storage_managed_folder_iam_member" "writer" {
  for_each       = var.writers
  bucket         = google_storage_managed_folder.runs.bucket
  managed_folder = google_storage_managed_folder.runs.name
  role           = "roles/storage.objectCreator"
  member         = each.value
}
