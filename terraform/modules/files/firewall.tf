# Cloud Run's instances cannot be named in a firewall rule, only their range can. Cloud Run does not say with which
# version of NFS it mounts; it mounts servers that know version 3 alone, which needs the port mapper (111) and mountd
# (20048, fixed by the start-up script) beside NFS itself (2049).
resource "google_compute_firewall" "clients" {
  name                    = var.names.instance
  description             = "Clinics to the share and to Redis"
  network                 = var.network
  direction               = "INGRESS"
  source_ranges           = [var.clients]
  target_service_accounts = [google_service_account.default.email]

  allow {
    protocol = "tcp"
    ports    = ["111", "2049", "20048", tostring(local.redis_port)]
  }
}

locals {
  redis_port = 6379
}
