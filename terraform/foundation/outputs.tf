output "backup_bucket" {
  description = "Bucket for backup sets and the records of job runs."
  value       = module.backup_bucket.name
}

output "build_account" {
  description = "Email of the account that builds images."
  value       = module.build_identity.email
}

output "build_bucket" {
  description = "Bucket for the sources of images."
  value       = module.build_bucket.name
}

output "registry" {
  description = "Image repository: REGION-docker.pkg.dev/PROJECT/REPOSITORY."
  value       = module.registry.address
}

output "state_bucket" {
  description = "Bucket with the Terraform states."
  value       = module.state_bucket.name
}
