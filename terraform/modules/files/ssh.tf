# SSH only where someone is named, only through Identity-Aware Proxy, and only to this machine. The machine's name
# changes when it is made again, its address does not; so the conditions name the address and the beginning of the name.

locals {
  _ssh = var.settings.ssh_members
  _own = "resource.name.startsWith(\"projects/${var.project}/zones/${var.zone}/instances/${var.names.instance}-\")"
}

# The range of Identity-Aware Proxy: https://cloud.google.com/iap/docs/using-tcp-forwarding
resource "google_compute_firewall" "ssh" {
  count                   = length(local._ssh) > 0 ? 1 : 0
  name                    = "${var.names.instance}-ssh"
  description             = "SSH through Identity-Aware Proxy"
  network                 = var.network
  direction               = "INGRESS"
  source_ranges           = ["35.235.240.0/20"]
  target_service_accounts = [google_service_account.default.email]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }

  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_project_iam_member" "tunnel" {
  for_each = local._ssh
  project  = var.project
  role     = "roles/iap.tunnelResourceAccessor"
  member   = each.value

  condition {
    title       = "only ${var.names.instance}"
    description = "SSH to the files machine's address and nothing else."
    expression  = "destination.ip == \"${google_compute_address.default.address}\" && destination.port == 22"
  }
}

resource "google_project_iam_member" "login" {
  for_each = local._ssh
  project  = var.project
  role     = "roles/compute.osAdminLogin"
  member   = each.value

  condition {
    title       = "only ${var.names.instance}"
    description = "Log in to the files machine and no other."
    expression  = local._own
  }
}

# OS Login asks for it on machines that run as a service account.
resource "google_service_account_iam_member" "login" {
  for_each           = local._ssh
  service_account_id = google_service_account.default.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}
