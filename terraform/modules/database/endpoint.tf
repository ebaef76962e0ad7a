# A Private Service Connect endpoint with the name that the server's certificate carries: no peering, which would hold a
# teardown for days, and TLS that a client can verify by name.

resource "google_compute_address" "default" {
  name         = var.names.address
  region       = var.region
  address_type = "INTERNAL"
  subnetwork   = var.subnetwork
  labels       = var.labels
}

resource "google_compute_forwarding_rule" "default" {
  name                  = var.names.address
  region                = var.region
  ip_address            = google_compute_address.default.id
  labels                = var.labels
  load_balancing_scheme = ""
  network               = var.network
  recreate_closed_psc   = true
  target                = google_sql_database_instance.default.psc_service_attachment_link
}

resource "google_dns_managed_zone" "default" {
  name        = var.names.zone
  description = "The database's own name, inside the network"
  dns_name    = "${local.host}."
  labels      = var.labels
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = var.network
    }
  }
}

resource "google_dns_record_set" "default" {
  name         = google_dns_managed_zone.default.dns_name
  managed_zone = google_dns_managed_zone.default.name
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_address.default.address]
}
