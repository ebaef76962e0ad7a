resource "google_artifact_registry_repository" "default" {
  #checkov:skip=CKV_GCP_84:Images hold no patients' data; Google's own encryption at rest is enough for them.
  repository_id   = var.name
  location        = var.region
  format          = "DOCKER"
  description     = "OpenEMR images, used by digest"
  labels          = var.labels
  deletion_policy = var.protect ? "PREVENT" : "DELETE"

  docker_config {
    immutable_tags = true
  }

  # Needs the API of Container Scanning, which `services` enables.
  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }

  # An immutable tag keeps its image; what lost its tag, or never had one, goes.
  cleanup_policies {
    id     = "untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "2592000s"
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "writer" {
  for_each   = var.writers
  repository = google_artifact_registry_repository.default.repository_id
  location   = google_artifact_registry_repository.default.location
  role       = "roles/artifactregistry.writer"
  member     = each.value
}
