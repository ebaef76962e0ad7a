output "address" {
  description = "Address of the file server, the same for its whole life."
  value       = google_compute_address.default.address
  # Whoever mounts the share needs the machine.
  depends_on = [google_compute_instance.default, google_compute_firewall.clients]
}

output "export" {
  description = "Exported path."
  value       = "/share"
}

output "member" {
  description = "The machine's account as an IAM member."
  value       = google_service_account.default.member
}

output "redis" {
  description = "Redis: host and port."
  value = {
    host = google_compute_address.default.address
    port = local.redis_port
  }
}
