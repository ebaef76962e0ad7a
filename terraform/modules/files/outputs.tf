output "address" {
  description = "Address of the file server, the same for its whole life."
  value       = google_compute_address.default.address
  # Whoever mounts the share needs the machine.
  depends_on = [google_compute_instance_group_manager.default, google_compute_firewall.clients]
}

output "disk" {
  description = "Name of the disk that holds the share."
  value       = google_compute_disk.default.name
}

output "export" {
  description = "Exported path."
  value       = "/share"
}

output "group" {
  description = "Name of the group that makes the machine; the machine's own name begins with it."
  value       = google_compute_instance_group_manager.default.name
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
