output "backup_bucket" {
  description = "Bucket for backup sets and the records of job runs."
  value       = module.backup_bucket.name
}

output "backup_stores" {
  description = "By clinic: its folder in the backup bucket, the secret with its backup password, and the account that prunes."
  value = {
    for clinic, store in module.backup_store : clinic => {
      folder   = store.folder
      password = module.backup_passwords.ids[clinic]
      pruner   = store.pruner.email
    }
  }
}

output "build_account" {
  description = "Email of the account that builds images."
  value       = module.build_identity.email
}

output "build_bucket" {
  description = "Bucket for the sources of images."
  value       = module.build_bucket.name
}

output "ci" {
  description = "The pipeline's identities: their accounts, the provider that lets jobs in, and which runs take which; null without any."
  value       = one([for ci in module.ci : { accounts = ci.accounts, provider = ci.provider, runs = ci.runs }])
}

output "log_bucket" {
  description = "Full name of the bucket with the audit logs."
  value       = module.audit.bucket
}

output "registry" {
  description = "Image repository: REGION-docker.pkg.dev/PROJECT/REPOSITORY."
  value       = module.registry.address
}

output "roles" {
  description = "Full names of the environment's custom roles, by what they are for."
  value       = module.roles.names
}

output "state_bucket" {
  description = "Bucket with the Terraform states."
  value       = module.state_bucket.name
}
