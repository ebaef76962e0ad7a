# Cloud Run's instances cannot be named in a firewall rule, only their range can. NFS 4 is one port. NFS 3 is offered
# beside it only where a client knows nothing newer: it takes the port mapper (111) and mountd (20048, fixed by the
# start-up script) too.
resource "google_compute_firewall" "clients" {
  name                    = var.names.instance
  description             = "Clinics to the share and to Redis"
  network                 = var.network
  direction               = "INGRESS"
  source_ranges           = [var.clients]
  target_service_accounts = [google_service_account.default.email]

  allow {
    protocol = "tcp"
    ports    = concat(["2049", tostring(local.redis_port)], var.settings.nfs_v3 ? ["111", "20048"] : [])
  }
}

# Where Google's health checks come from: https://cloud.google.com/load-balancing/docs/health-check-concepts
resource "google_compute_firewall" "health" {
  name                    = "${var.names.instance}-health"
  description             = "Google's health checks"
  network                 = var.network
  direction               = "INGRESS"
  source_ranges           = ["35.191.0.0/16", "130.211.0.0/22"]
  target_service_accounts = [google_service_account.default.email]

  allow {
    protocol = "tcp"
    ports    = [tostring(local.health_port)]
  }
}
