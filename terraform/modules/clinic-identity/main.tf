resource "google_service_account" "web" {
  account_id   = var.names.web
  display_name = "OpenEMR of ${var.clinic}: serves"
}

resource "google_service_account" "init" {
  account_id   = var.names.init
  display_name = "OpenEMR of ${var.clinic}: installs and restores"
}
