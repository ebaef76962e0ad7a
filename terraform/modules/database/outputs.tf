output "host" {
  description = "Host name of the database, as in its certificate."
  value       = local.host
  # Whoever connects needs the name to be known and the endpoint to answer.
  depends_on = [google_dns_record_set.default, google_compute_forwarding_rule.default]
}

output "instance" {
  description = "Name of the instance."
  value       = google_sql_database_instance.default.name
}

output "port" {
  description = "Port of the database."
  value       = 3306
}

output "server_ca" {
  description = "PEM of the CA that signs the server's certificate; public, though the provider marks it sensitive."
  value       = nonsensitive(join("\n", google_sql_database_instance.default.server_ca_cert[*].cert))
}
