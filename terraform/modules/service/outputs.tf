output "name" {
  description = "Full name of the service: projects/PROJECT/locations/REGION/services/SERVICE."
  value       = google_cloud_run_v2_service.default.id
}

output "uri" {
  description = "Address that Cloud Run gave the service."
  value       = google_cloud_run_v2_service.default.uri
}
