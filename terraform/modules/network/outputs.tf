output "cidr" {
  description = "Range of the subnet."
  value       = google_compute_subnetwork.default.ip_cidr_range
}

output "network" {
  description = "Full name of the network."
  value       = google_compute_network.default.id
}

output "subnetwork" {
  description = "Full name of the subnetwork."
  value       = google_compute_subnetwork.default.id
}
