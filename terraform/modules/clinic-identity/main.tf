resource "google_service_account" "default" {
  for_each     = var.accounts
  account_id   = each.value.id
  display_name = "OpenEMR of ${var.clinic}: ${each.value.title}"
}
