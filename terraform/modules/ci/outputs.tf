output "accounts" {
  description = "By identity: the email of its account."
  value       = { for name, account in google_service_account.default : name => account.email }
}

output "provider" {
  description = "Full name of the workload identity provider, to paste into the pipeline's settings; empty for Cloud Build."
  value       = local.federated ? google_iam_workload_identity_pool_provider.default[0].name : ""
}

output "runs" {
  description = "By identity: which runs of the pipeline take it, as a principal set names them; empty for Cloud Build."
  value       = local.federated ? local.runs : {}
}
