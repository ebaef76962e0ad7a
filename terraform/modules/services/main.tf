resource "google_project_service" "default" {
  for_each = var.services
  service  = each.key
  # Something else in the project may use the API too.
  disable_on_destroy = false
}
