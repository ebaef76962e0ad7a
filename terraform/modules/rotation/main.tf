# What the rotate job may do: change the clinic's own secrets, bring its service to a revision with the new versions, see
# its jobs end, and hold the environment's lock meanwhile. It reaches no other clinic, and nothing of the database's API.

resource "google_secret_manager_secret_iam_member" "secret" {
  for_each  = var.secrets
  project   = var.project
  secret_id = each.value
  role      = var.roles.secrets
  member    = var.member
}

# The job redis-passwords asks the secret which of its versions are in force or about to be.
resource "google_secret_manager_secret_iam_member" "redis" {
  project   = var.project
  secret_id = var.secrets.redis_password
  role      = "roles/secretmanager.viewer"
  member    = var.redis_member
}

# A revision runs as the service's account, so whoever makes one has to be allowed to use it.
resource "google_service_account_iam_member" "web" {
  service_account_id = var.web_account
  role               = "roles/iam.serviceAccountUser"
  member             = var.member
}

# So does the image: https://cloud.google.com/artifact-registry/docs/integrate-cloud-run
resource "google_artifact_registry_repository_iam_member" "image" {
  count      = var.registry == null ? 0 : 1
  project    = var.registry.project
  location   = var.registry.location
  repository = var.registry.repository
  role       = "roles/artifactregistry.reader"
  member     = var.member
}

resource "google_cloud_run_v2_service_iam_member" "service" {
  for_each = var.service == null ? {} : { invoker = "roles/run.invoker", revisions = var.roles.revisions }
  name     = var.service
  location = var.region
  role     = each.value
  member   = var.member
}

# It waits for the executions that still hold an old password.
resource "google_cloud_run_v2_job_iam_member" "viewer" {
  for_each = var.jobs
  name     = each.value
  location = var.region
  role     = "roles/run.viewer"
  member   = var.member
}

# That job gives the clinic's Redis user the passwords of its secret. Its template is fixed: who starts it chooses nothing.
resource "google_cloud_run_v2_job_iam_member" "redis" {
  for_each = toset(["roles/run.invoker", "roles/run.viewer"])
  name     = var.redis_job
  location = var.region
  role     = each.value
  member   = var.member
}

# The environment's lock and no other object of the state bucket. Without it two commands could change one clinic.
resource "google_storage_bucket_iam_member" "lock" {
  bucket = var.lock.bucket
  role   = "roles/storage.objectUser"
  member = var.member

  condition {
    title       = "only the lock"
    description = "The environment's lock; the states beside it stay closed."
    expression  = "resource.name == \"projects/_/buckets/${var.lock.bucket}/objects/${var.lock.object}\""
  }
}

# restic's keys are files of the repository; changing the password adds one and removes one.
resource "google_storage_managed_folder_iam_member" "repository" {
  for_each = {
    ""                  = "roles/storage.objectViewer"
    "repository/keys/"  = "roles/storage.objectUser"
    "repository/locks/" = "roles/storage.objectUser"
  }
  bucket         = var.store.bucket
  managed_folder = "${var.store.folder}${each.key}"
  role           = each.value
  member         = var.member
}

# How old each password is.
resource "google_project_iam_member" "metrics" {
  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = var.member
}
