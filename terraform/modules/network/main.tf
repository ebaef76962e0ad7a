resource "google_compute_network" "default" {
  name                    = var.names.network
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}

resource "google_compute_subnetwork" "default" {
  #checkov:skip=CKV_GCP_76:The subnet has no IPv6 addresses.
  name                     = var.names.subnet
  network                  = google_compute_network.default.id
  region                   = var.region
  ip_cidr_range            = var.cidr
  private_ip_google_access = true
  stack_type               = "IPV4_ONLY"

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}
