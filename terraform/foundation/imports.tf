# The state bucket has to exist before Terraform can keep a state in it, so the orchestrator makes it and the first
# apply adopts it here.
import {
  to = module.state_bucket.google_storage_bucket.default
  id = var.names.state_bucket
}
