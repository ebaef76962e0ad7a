output "folder" {
  description = "Managed folder for backup sets: clinics/CLINIC/backups/."
  value       = google_storage_managed_folder.default.name
}

output "pruner" {
  description = "The account that prunes: email and IAM member."
  value = {
    email  = google_service_account.prune.email
    member = google_service_account.prune.member
  }
}
