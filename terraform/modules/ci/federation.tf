# Who may take these identities. GitHub and GitLab sign a token for each job, and the pool takes those of one repository;
# its branch and environment say for which identity. Builds of Cloud Build run as the accounts themselves.

locals {
  federated = var.trust.provider != "cloudbuild"

  # Claims: https://docs.github.com/en/actions/reference/security/oidc and
  # https://docs.gitlab.com/ci/secrets/id_token_authentication/
  _claims = {
    github = {
      branch     = "refs/heads/${var.trust.branch}"
      id         = "repository_id"
      ref        = "assertion.ref"
      repository = "repository"
      # Runs with the rights of the base branch on what a stranger proposed.
      refused = ["assertion.event_name != \"pull_request_target\""]
    }
    gitlab = {
      branch = "branch/${var.trust.branch}"
      id     = "project_id"
      # A merge request's pipeline tells the branch that it comes from, of a fork too, as if it ran on it.
      ref        = "(assertion.pipeline_source == \"merge_request_event\" ? \"merge_request\" : assertion.ref_type) + \"/\" + assertion.ref"
      repository = "project_path"
      refused    = []
    }
  }
  claims = lookup(local._claims, var.trust.provider, local._claims.github)

  condition = join(" && ", concat(
    ["assertion.${local.claims.repository} == \"${var.trust.repository}\""],
    var.trust.repository_id == "" ? [] : ["assertion.${local.claims.id} == \"${var.trust.repository_id}\""],
    local.claims.refused,
  ))

  # By identity: which of the repository's runs take it.
  runs = {
    planner   = "attribute.repository/${var.trust.repository}"
    deployer  = "attribute.place/${local.claims.branch}:${var.trust.environment}"
    destroyer = "attribute.place/${local.claims.branch}:${var.trust.destroy_environment}"
  }
}

resource "google_iam_workload_identity_pool" "default" {
  count                     = local.federated ? 1 : 0
  workload_identity_pool_id = var.pool
  display_name              = "OpenEMR's pipeline"
  description               = "Jobs of ${var.trust.repository}"
}

resource "google_iam_workload_identity_pool_provider" "default" {
  count                              = local.federated ? 1 : 0
  workload_identity_pool_id          = google_iam_workload_identity_pool.default[0].workload_identity_pool_id
  workload_identity_pool_provider_id = var.trust.provider
  display_name                       = "OpenEMR's pipeline"
  attribute_condition                = local.condition
  attribute_mapping = {
    "attribute.place"      = "${local.claims.ref} + \":\" + (has(assertion.environment) ? assertion.environment : \"\")"
    "attribute.repository" = "assertion.${local.claims.repository}"
    "google.subject"       = "assertion.sub"
  }
  oidc {
    issuer_uri = var.trust.issuer
  }
}

resource "google_service_account_iam_member" "federated" {
  for_each           = local.federated ? local.runs : {}
  service_account_id = google_service_account.default[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.default[0].name}/${each.value}"
}

# A build writes its log as the account it runs as, and Cloud Logging takes writers only for a whole project.
resource "google_project_iam_member" "log" {
  for_each = local.federated ? {} : var.identities
  project  = var.project
  role     = "roles/logging.logWriter"
  member   = google_service_account.default[each.key].member
}
