# One machine with one disk: the share that clinics mount, and Redis for their sessions.

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

resource "google_compute_instance" "default" {
  #checkov:skip=CKV_GCP_38:Google's encryption at rest; with a key of our own, losing the key would be losing the records.
  name                      = var.names.instance
  zone                      = var.zone
  machine_type              = var.settings.machine_type
  labels                    = var.labels
  deletion_protection       = var.protect
  allow_stopping_for_update = true

  boot_disk {
    initialize_params {
      image  = var.settings.image
      labels = var.labels
      size   = 10
      type   = "pd-balanced"
    }
  }

  attached_disk {
    source      = google_compute_disk.default.id
    device_name = "data"
  }

  network_interface {
    network    = var.network
    subnetwork = var.subnetwork
    network_ip = google_compute_address.default.address
  }

  service_account {
    email = google_service_account.default.email
    # What the account may do is decided by IAM alone.
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
  }

  shielded_instance_config {
    enable_integrity_monitoring = true
    enable_secure_boot          = true
    enable_vtpm                 = true
  }

  metadata = {
    block-project-ssh-keys = "TRUE"
    enable-oslogin         = "TRUE"
    redis-admin-secret     = var.redis_admin_secret
    serial-port-enable     = "FALSE"
    share-clients          = var.clients
    # Here and not in metadata_startup_script, a change of which would replace the machine.
    startup-script = file("${path.module}/startup.sh")
  }
}
