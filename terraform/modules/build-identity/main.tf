resource "google_service_account" "default" {
  account_id   = var.name
  display_name = "Builds OpenEMR images"
}

resource "google_storage_bucket_iam_member" "source" {
  bucket = var.source_bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.default.member
}

# Cloud Build writes its log as this account, and Cloud Logging takes writers only for a whole project.
resource "google_project_iam_member" "log" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.default.member
}
