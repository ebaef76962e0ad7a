# Nothing here has a public address. Two things must still reach the internet: the files machine, for Debian's packages
# and their security updates, and clinics that send all their traffic through the network, for mail.

resource "google_compute_router" "default" {
  name    = var.names.router
  network = google_compute_network.default.id
  region  = var.region
}

resource "google_compute_router_nat" "default" {
  name                               = var.names.nat
  router                             = google_compute_router.default.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.default.id
    source_ip_ranges_to_nat = ["PRIMARY_IP_RANGE"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
