# One machine with one disk: the share that clinics mount, and Redis for their sessions. The machine is a group of one,
# so that it is made again when it is lost or ill; disk and address outlive it.

resource "google_service_account" "default" {
  account_id   = var.names.account
  display_name = "Files machine: NFS and Redis"
}

resource "google_compute_address" "default" {
  name         = var.names.address
  region       = var.region
  address_type = "INTERNAL"
  subnetwork   = var.subnetwork
  labels       = var.labels
}

resource "google_compute_disk" "default" {
  #checkov:skip=CKV_GCP_37:Google's encryption at rest; with a key of our own, losing the key would be losing the records.
  name            = var.names.disk
  zone            = var.zone
  size            = var.settings.disk_size_gb
  type            = "pd-balanced"
  labels          = var.labels
  deletion_policy = var.protect ? "PREVENT" : "DELETE"
}

# A snapshot is what the disk held at one moment, files and Redis together; it knows nothing of the database. It stands
# beside backup sets, not in their place.
resource "google_compute_resource_policy" "snapshots" {
  count       = var.settings.snapshot_days > 0 ? 1 : 0
  name        = var.names.snapshots
  description = "Daily snapshots of the share"
  region      = var.region

  snapshot_schedule_policy {
    schedule {
      daily_schedule {
        days_in_cycle = 1
        start_time    = "01:00"
      }
    }
    retention_policy {
      max_retention_days    = var.settings.snapshot_days
      on_source_disk_delete = var.protect ? "KEEP_AUTO_SNAPSHOTS" : "APPLY_RETENTION_POLICY"
    }
    snapshot_properties {
      labels            = var.labels
      storage_locations = [var.region]
    }
  }
}

resource "google_compute_disk_resource_policy_attachment" "snapshots" {
  count = var.settings.snapshot_days > 0 ? 1 : 0
  name  = google_compute_resource_policy.snapshots[0].name
  disk  = google_compute_disk.default.name
  zone  = var.zone
}
