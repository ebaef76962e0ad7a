resource "google_service_account" "a" {
  account_id = "oe-test"
}

resource "google_iam_workload_identity_pool" "p" {
  workload_identity_pool_id = "pipelines"
  display_name              = var.changed ? "pipelines" : "ci"
  description               = var.changed ? "what deploys" : "what plans"
  disabled                  = var.changed
}

resource "google_iam_workload_identity_pool_provider" "p" {
  workload_identity_pool_id          = google_iam_workload_identity_pool.p.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = var.changed ? "forge" : "github"
  description                        = var.changed ? "what deploys" : "what plans"
  disabled                           = var.changed
  attribute_condition                = "assertion.repository == \"clinic/${var.changed ? "b" : "a"}\""
  attribute_mapping                  = { "google.subject" = var.changed ? "assertion.sub" : "assertion.actor" }
  oidc {
    issuer_uri        = "https://token.actions.githubusercontent.com"
    allowed_audiences = var.changed ? ["b"] : ["a"]
  }
}

resource "google_iap_tunnel_instance_iam_member" "m" {
  instance = "vm"
  role     = "roles/iap.tunnelResourceAccessor"
  member   = google_service_account.a.member
}
