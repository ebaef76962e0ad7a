resource "google_service_account" "a" {
  account_id = "oe-test"
}

resource "google_compute_network" "n" {
  name                    = "net"
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}

resource "google_compute_subnetwork" "s" {
  name                     = "sub"
  network                  = google_compute_network.n.id
  ip_cidr_range            = var.changed ? "10.0.0.0/21" : "10.0.0.0/22"
  private_ip_google_access = var.changed
  log_config {
    metadata = var.changed ? "EXCLUDE_ALL_METADATA" : "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "f" {
  name          = "fw"
  network       = google_compute_network.n.name
  description   = var.changed ? "NFS" : "NFS and Redis"
  disabled      = var.changed
  priority      = var.changed ? 900 : 1000
  source_ranges = [var.changed ? "10.0.0.0/21" : "10.0.0.0/22"]
  target_tags   = [var.changed ? "share" : "files"]
  allow {
    protocol = "tcp"
    ports    = var.changed ? ["2049"] : ["2049", "6379"]
  }
}

resource "google_compute_firewall" "d" {
  name               = "fwd"
  network            = google_compute_network.n.name
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = [var.changed ? "192.0.2.0/24" : "0.0.0.0/0"]
  deny {
    protocol = "all"
  }
  log_config {
    metadata = var.changed ? "INCLUDE_ALL_METADATA" : "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_address" "a" {
  name         = "addr"
  subnetwork   = google_compute_subnetwork.s.id
  address_type = "INTERNAL"
}

resource "google_compute_router" "r" {
  name        = "router"
  description = var.changed ? "out" : "out only"
  network     = google_compute_network.n.id
}

resource "google_compute_router_nat" "n" {
  name                               = "nat"
  router                             = google_compute_router.r.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  min_ports_per_vm                   = var.changed ? 128 : 64
  tcp_established_idle_timeout_sec   = var.changed ? 600 : 1200
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  subnetwork {
    name                    = google_compute_subnetwork.s.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
  log_config {
    enable = true
    filter = var.changed ? "ALL" : "ERRORS_ONLY"
  }
}

resource "google_compute_disk" "d" {
  name = "data"
  type = "pd-balanced"
  size = var.changed ? 30 : 20
}

resource "google_compute_instance" "i" {
  name                      = "vm"
  machine_type              = var.changed ? "e2-medium" : "e2-small"
  tags                      = [var.changed ? "share" : "files"]
  metadata                  = { redis-admin-secret = "projects/x/secrets/y", enable-oslogin = var.changed ? "FALSE" : "TRUE", startup-script = "#!/bin/sh" }
  allow_stopping_for_update = true
  boot_disk {
    initialize_params {
      image = "debian-cloud/debian-12"
      size  = 10
      type  = "pd-balanced"
    }
  }
  attached_disk {
    source      = google_compute_disk.d.id
    device_name = "data"
  }
  network_interface {
    subnetwork = google_compute_subnetwork.s.id
    network_ip = google_compute_address.a.address
  }
  service_account {
    email  = google_service_account.a.email
    scopes = ["cloud-platform"]
  }
  shielded_instance_config {
    enable_secure_boot = true
  }
}

resource "google_sql_database_instance" "i" {
  name                = "oe-test-sql"
  database_version    = "MYSQL_8_0"
  deletion_protection = false
  settings {
    tier              = "db-f1-micro"
    edition           = "ENTERPRISE"
    availability_type = "ZONAL"
    disk_size         = var.changed ? 20 : 10
    user_labels       = { a = var.changed ? "c" : "b" }
    ip_configuration {
      ipv4_enabled   = false
      ssl_mode       = "ENCRYPTED_ONLY"
      server_ca_mode = "GOOGLE_MANAGED_CAS_CA"
      psc_config {
        psc_enabled               = true
        allowed_consumer_projects = ["demo-project"]
      }
    }
    backup_configuration {
      enabled            = true
      binary_log_enabled = true
      start_time         = "02:00"
    }
    database_flags {
      name  = "max_connections"
      value = var.changed ? "200" : "100"
    }
    maintenance_window {
      day  = 7
      hour = 3
    }
  }
}

resource "google_compute_address" "psc" {
  name         = "psc"
  subnetwork   = google_compute_subnetwork.s.id
  address_type = "INTERNAL"
}

resource "google_compute_forwarding_rule" "psc" {
  name                  = "psc"
  network               = google_compute_network.n.id
  ip_address            = google_compute_address.psc.id
  load_balancing_scheme = ""
  target                = google_sql_database_instance.i.psc_service_attachment_link
}

resource "google_dns_managed_zone" "z" {
  name        = "zone"
  dns_name    = google_sql_database_instance.i.dns_name
  visibility  = "private"
  description = var.changed ? "the database's" : "the database"
  private_visibility_config {
    networks {
      network_url = google_compute_network.n.id
    }
  }
}

resource "google_dns_record_set" "r" {
  name         = google_sql_database_instance.i.dns_name
  managed_zone = google_dns_managed_zone.z.name
  type         = "A"
  ttl          = var.changed ? 60 : 300
  rrdatas      = [google_compute_address.psc.address]
}

resource "google_compute_health_check" "h" {
  name                = "files"
  description         = var.changed ? "NFS" : "SSH"
  check_interval_sec  = var.changed ? 20 : 10
  timeout_sec         = var.changed ? 6 : 5
  healthy_threshold   = var.changed ? 3 : 2
  unhealthy_threshold = var.changed ? 4 : 3
  tcp_health_check {
    port = var.changed ? 2049 : 22
  }
  log_config {
    enable = var.changed
  }
}

resource "google_compute_resource_policy" "p" {
  name        = "nightly"
  description = var.changed ? "kept long" : "kept"
  snapshot_schedule_policy {
    schedule {
      daily_schedule {
        days_in_cycle = 1
        start_time    = var.changed ? "03:00" : "02:00"
      }
    }
    retention_policy {
      max_retention_days    = var.changed ? 14 : 7
      on_source_disk_delete = "KEEP_AUTO_SNAPSHOTS"
    }
    snapshot_properties {
      labels = { a = "b" }
    }
  }
}

resource "google_compute_disk" "m" {
  name = "documents"
  type = "pd-balanced"
  size = 20
}

resource "google_compute_disk_resource_policy_attachment" "p" {
  disk = google_compute_disk.m.name
  name = google_compute_resource_policy.p.name
}

resource "google_compute_instance_template" "t" {
  name_prefix             = "files-"
  description             = "NFS and Redis"
  instance_description    = "a share"
  machine_type            = "e2-small"
  tags                    = ["files"]
  labels                  = { role = "files" }
  metadata                = { enable-oslogin = "TRUE" }
  metadata_startup_script = "#!/bin/sh\necho ${var.changed ? "ho" : "hi"}\n"
  disk {
    source_image = "debian-cloud/debian-12"
    disk_size_gb = 10
    disk_type    = "pd-balanced"
    boot         = true
  }
  disk {
    source      = google_compute_disk.m.name
    device_name = "documents"
    auto_delete = false
    boot        = false
  }
  network_interface {
    subnetwork = google_compute_subnetwork.s.id
  }
  service_account {
    email  = google_service_account.a.email
    scopes = ["cloud-platform"]
  }
  shielded_instance_config {
    enable_secure_boot = true
  }
  lifecycle {
    create_before_destroy = true
    ignore_changes        = [name_prefix, metadata, metadata_startup_script, labels, effective_labels, terraform_labels]
  }
}

resource "google_compute_instance_group_manager" "g" {
  name               = "files"
  description        = var.changed ? "one machine" : "machine"
  base_instance_name = "files"
  target_size        = 1
  wait_for_instances = true
  version {
    name              = var.changed ? "new" : "old"
    instance_template = google_compute_instance_template.t.self_link_unique
  }
  stateful_disk {
    device_name = "documents"
    delete_rule = var.changed ? "ON_PERMANENT_INSTANCE_DELETION" : "NEVER"
  }
  stateful_internal_ip {
    interface_name = "nic0"
    delete_rule    = var.changed ? "ON_PERMANENT_INSTANCE_DELETION" : "NEVER"
  }
  auto_healing_policies {
    health_check      = google_compute_health_check.h.id
    initial_delay_sec = var.changed ? 600 : 300
  }
  update_policy {
    type                  = var.changed ? "OPPORTUNISTIC" : "PROACTIVE"
    minimal_action        = "REPLACE"
    replacement_method    = "RECREATE"
    max_surge_fixed       = 0
    max_unavailable_fixed = 1
  }
}

resource "google_compute_instance_group_manager" "several" {
  name               = "several"
  base_instance_name = "several"
  target_size        = var.changed ? 0 : 1
  version {
    instance_template = google_compute_instance_template.small.id
  }
}

resource "google_compute_instance_template" "small" {
  name         = "small"
  machine_type = "e2-small"
  disk {
    source_image = "debian-cloud/debian-12"
  }
  network_interface {
    subnetwork = google_compute_subnetwork.s.id
  }
  lifecycle {
    ignore_changes = [labels, effective_labels, terraform_labels]
  }
}

resource "google_compute_instance_group_manager" "named" {
  name               = "named"
  base_instance_name = "named"
  version {
    instance_template = google_compute_instance_template.small.id
  }
}

resource "google_compute_per_instance_config" "n" {
  instance_group_manager     = google_compute_instance_group_manager.named.name
  name                       = "named-one"
  remove_instance_on_destroy = true
  preserved_state {
    metadata = { a = var.changed ? "c" : "b" }
  }
}
