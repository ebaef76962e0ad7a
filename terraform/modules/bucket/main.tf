locals {
  _day = 24 * 60 * 60
  # Google answers with locations in capitals.
  location = upper(var.location)
}

resource "google_storage_bucket" "default" {
  #checkov:skip=CKV_GCP_62:Usage logs do not name the caller; Cloud Audit Logs do, and are where access is reviewed.
  #checkov:skip=CKV_GCP_78:Versioned wherever old content has worth; the build bucket holds only copies of sources.
  name                        = var.name
  location                    = local.location
  labels                      = var.labels
  force_destroy               = false
  deletion_policy             = var.protect ? "PREVENT" : "DELETE"
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true

  soft_delete_policy {
    retention_duration_seconds = var.retention.soft_delete_days * local._day
  }

  versioning {
    enabled = var.retention.noncurrent_days != null
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.retention.noncurrent_days[*]
    content {
      action {
        type = "Delete"
      }
      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        num_newer_versions         = var.retention.noncurrent_versions
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.retention.current_days[*]
    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }
}
