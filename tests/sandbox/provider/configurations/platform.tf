terraform {
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }
}

provider "google" {
  project        = "demo-project"
  region         = "europe-west1"
  zone           = "europe-west1-b"
  default_labels = { team = "clinic" }
}

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
  ip_cidr_range            = "10.0.0.0/22"
  private_ip_google_access = true
  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "f" {
  name          = "fw"
  network       = google_compute_network.n.name
  source_ranges = ["10.0.0.0/22"]
  target_tags   = ["files"]
  allow {
    protocol = "tcp"
    ports    = ["2049", "6379"]
  }
}

resource "google_compute_firewall" "d" {
  name               = "fwd"
  network            = google_compute_network.n.name
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = ["0.0.0.0/0"]
  deny {
    protocol = "all"
  }
  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_address" "a" {
  name         = "addr"
  subnetwork   = google_compute_subnetwork.s.id
  address_type = "INTERNAL"
}

resource "google_compute_router" "r" {
  name    = "router"
  network = google_compute_network.n.id
}

resource "google_compute_router_nat" "n" {
  name                               = "nat"
  router                             = google_compute_router.r.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  subnetwork {
    name                    = google_compute_subnetwork.s.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

resource "google_compute_disk" "d" {
  name = "data"
  type = "pd-balanced"
  size = 20
}

resource "google_compute_instance" "i" {
  name                      = "vm"
  machine_type              = "e2-small"
  tags                      = ["files"]
  metadata                  = { redis-admin-secret = "projects/x/secrets/y", enable-oslogin = "TRUE" }
  metadata_startup_script   = "#!/bin/sh\necho hi\n"
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
    disk_size         = 10
    user_labels       = { a = "b" }
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
      value = "100"
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
  name       = "zone"
  dns_name   = google_sql_database_instance.i.dns_name
  visibility = "private"
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
  ttl          = 300
  rrdatas      = [google_compute_address.psc.address]
}
