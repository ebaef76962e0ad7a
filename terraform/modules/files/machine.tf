locals {
  health_port = 8080
  redis_port  = 6379
}

# What the machine is made from. A new template replaces the old one; the disk and the address are in each.
resource "google_compute_instance_template" "default" {
  name_prefix  = "${var.names.instance}-"
  description  = "NFS and Redis"
  machine_type = var.settings.machine_type
  labels       = var.labels

  disk {
    boot         = true
    auto_delete  = true
    disk_size_gb = 10
    disk_type    = "pd-balanced"
    labels       = var.labels
    source_image = var.settings.image
  }

  disk {
    boot        = false
    auto_delete = false
    device_name = local.data
    source      = google_compute_disk.default.name
  }

  network_interface {
    network    = var.network
    network_ip = google_compute_address.default.address
    subnetwork = var.subnetwork
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
    health-program         = file("${path.module}/health.py")
    nfs-versions           = var.settings.nfs_v3 ? "3 4" : "4"
    redis-admin-secret     = var.redis_admin_secret
    # Nobody logs in there, but what the machine prints reaches Cloud Logging without any right on it.
    serial-port-enable         = "FALSE"
    serial-port-logging-enable = "TRUE"
    share-clients              = var.clients
    startup-script             = file("${path.module}/startup.sh")
  }

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  data = "data"
}

# One HTTP answer for both servers: see health.py.
resource "google_compute_health_check" "default" {
  name                = var.names.health
  description         = "NFS answers, and so does Redis"
  check_interval_sec  = 20
  timeout_sec         = 10
  healthy_threshold   = 1
  unhealthy_threshold = 6

  http_health_check {
    port         = local.health_port
    request_path = "/"
  }

  log_config {
    enable = true
  }
}

resource "google_compute_instance_group_manager" "default" {
  name               = var.names.instance
  description        = "The files machine"
  base_instance_name = var.names.instance
  zone               = var.zone
  target_size        = 1
  deletion_policy    = var.protect ? "PREVENT" : "DELETE"

  version {
    instance_template = google_compute_instance_template.default.id
  }

  stateful_disk {
    device_name = local.data
    delete_rule = "NEVER"
  }

  stateful_internal_ip {
    interface_name = "nic0"
    delete_rule    = "NEVER"
  }

  auto_healing_policies {
    health_check = google_compute_health_check.default.id
    # A first boot fetches packages.
    initial_delay_sec = 600
  }

  # A disk and an address can be one machine's at a time, so the old one goes before the new one comes.
  update_policy {
    type                           = "PROACTIVE"
    minimal_action                 = "RESTART"
    most_disruptive_allowed_action = "REPLACE"
    replacement_method             = "RECREATE"
    max_surge_fixed                = 0
    max_unavailable_fixed          = 1
  }

  depends_on = [google_compute_firewall.health]
}
