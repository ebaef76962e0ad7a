# Cloud Run asks every caller for the right to call. People who log in to OpenEMR have no Google account to show, so a
# service that they reach without a proxy before it has to be open; it is only where the environment file says so.
resource "google_cloud_run_v2_service_iam_member" "public" {
  count    = var.settings.public_access ? 1 : 0
  name     = google_cloud_run_v2_service.default.name
  location = google_cloud_run_v2_service.default.location
  role     = "roles/run.invoker"
  member   = "allUsers"
}
