# Who read and wrote patients' data, kept where and for as long as the environment says. Reading is not logged by
# Google unless it is asked for, service by service. A service's configuration is whole: what else the project had set
# for one of these services (exempted members) is replaced; other services are not touched.

resource "google_project_iam_audit_config" "default" {
  for_each = var.services
  project  = var.project
  service  = each.key

  audit_log_config {
    log_type = "ADMIN_READ"
  }
  audit_log_config {
    log_type = "DATA_READ"
  }
  audit_log_config {
    log_type = "DATA_WRITE"
  }
}

resource "google_logging_project_bucket_config" "default" {
  project         = var.project
  location        = var.region
  bucket_id       = var.names.bucket
  description     = "Audit logs of this project's OpenEMR"
  retention_days  = var.retention_days
  deletion_policy = var.protect ? "PREVENT" : "DELETE"
}

# A sink to a bucket of its own project needs no right: https://cloud.google.com/logging/docs/export/configure_export_v2
resource "google_logging_project_sink" "default" {
  name                   = var.names.sink
  description            = "Audit logs to a bucket that keeps them longer than the project's own"
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.default.id}"
  filter                 = "logName:\"cloudaudit.googleapis.com\""
  unique_writer_identity = true
}
