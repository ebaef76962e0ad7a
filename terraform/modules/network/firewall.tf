# What no other rule lets in stays out. Google does so by itself, but silently; this rule leaves a log.
resource "google_compute_firewall" "refuse" {
  name          = "${var.names.network}-refuse"
  description   = "Everything that no other rule lets in"
  network       = google_compute_network.default.id
  direction     = "INGRESS"
  priority      = 65534
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}
