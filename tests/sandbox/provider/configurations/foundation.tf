data "google_project" "this" {}

data "google_client_config" "this" {}

output "number" {
  value = data.google_project.this.number
}

output "region" {
  value = data.google_client_config.this.region
}

resource "google_project_service" "run" {
  service            = "run.googleapis.com"
  disable_on_destroy = false
}

resource "google_storage_bucket" "b" {
  name                        = "demo-project-oe-b"
  location                    = "europe-west1"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  labels                      = { a = var.changed ? "c" : "b" }
  versioning {
    enabled = !var.changed
  }
  soft_delete_policy {
    retention_duration_seconds = var.changed ? 1209600 : 604800
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      num_newer_versions = var.changed ? 6 : 5
      with_state         = "ARCHIVED"
    }
  }
}

resource "google_storage_managed_folder" "f" {
  bucket = google_storage_bucket.b.name
  name   = "clinics/main/"
}

resource "google_storage_managed_folder_iam_member" "m" {
  bucket         = google_storage_bucket.b.name
  managed_folder = google_storage_managed_folder.f.name
  role           = "roles/storage.objectViewer"
  member         = google_service_account.a.member
}

resource "google_storage_bucket_iam_member" "m" {
  bucket = google_storage_bucket.b.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.a.member
  condition {
    title      = "x"
    expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.b.name}/objects/a\")"
  }
}

resource "google_artifact_registry_repository" "r" {
  location      = "europe-west1"
  repository_id = "oe-test"
  description   = var.changed ? "images" : "image"
  labels        = { a = var.changed ? "c" : "b" }
  format        = "DOCKER"
  cleanup_policies {
    id     = "keep"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }
  cleanup_policies {
    id     = "delete"
    action = "DELETE"
    condition {
      older_than = var.changed ? "86400s" : "2592000s"
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "m" {
  location   = google_artifact_registry_repository.r.location
  repository = google_artifact_registry_repository.r.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.a.member
}

resource "google_service_account" "a" {
  account_id   = "oe-test"
  display_name = var.changed ? "y" : "x"
  description  = var.changed ? "writes images" : "writes"
  disabled     = var.changed
}

resource "google_service_account_iam_member" "m" {
  service_account_id = google_service_account.a.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.a.member
}

resource "google_project_iam_member" "m" {
  project = "demo-project"
  role    = "roles/cloudsql.client"
  member  = google_service_account.a.member
}

resource "google_project_iam_custom_role" "r" {
  role_id     = "oeTest"
  title       = var.changed ? "tests" : "test"
  description = var.changed ? "what a test may" : "for tests"
  permissions = ["cloudsql.instances.get", var.changed ? "cloudsql.users.list" : "cloudsql.users.create"]
}

resource "google_project_iam_audit_config" "a" {
  project = "demo-project"
  service = "secretmanager.googleapis.com"
  audit_log_config {
    log_type = var.changed ? "DATA_WRITE" : "DATA_READ"
  }
}

resource "google_secret_manager_secret" "s" {
  secret_id           = "abc"
  version_destroy_ttl = var.changed ? "172800s" : "86400s"
  annotations         = { x = var.changed ? "z" : "y" }
  replication {
    user_managed {
      replicas {
        location = "europe-west1"
      }
    }
  }
}

resource "google_secret_manager_secret_iam_member" "m" {
  secret_id = google_secret_manager_secret.s.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.a.member
}
