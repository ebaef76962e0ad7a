# A pipeline's identities, without any key: the planner reads, the deployer changes this environment, the destroyer
# alone takes it down. Each has one custom role on the project, made of the commands it runs, and its own reach into the
# environment's buckets. None of them can change what stands here.

resource "google_service_account" "default" {
  for_each     = var.identities
  account_id   = each.value.account
  display_name = "OpenEMR's ${each.key}: ${each.value.purpose}"
}

resource "google_project_iam_custom_role" "default" {
  for_each    = var.identities
  project     = var.project
  role_id     = replace(each.value.account, "-", "_")
  title       = "OpenEMR's ${each.key}"
  description = "What the pipeline's ${each.key} needs: it ${each.value.purpose}."
  permissions = each.value.permissions
  # Stays when it is destroyed: see provision.
  deletion_policy = "ABANDON"
}

resource "google_project_iam_member" "default" {
  for_each = var.identities
  project  = var.project
  role     = google_project_iam_custom_role.default[each.key].name
  member   = google_service_account.default[each.key].member
}

locals {
  _reads  = "roles/storage.objectViewer"
  _writes = "roles/storage.objectUser"

  # Terraform's states and the environment's lock; what jobs report and which sets there are; sources of images.
  _reach = {
    state   = { planner = local._reads, deployer = local._writes, destroyer = local._writes }
    backups = { planner = local._reads, deployer = local._reads, destroyer = local._reads }
    build   = { deployer = local._writes }
  }
  reach = merge([
    for bucket, roles in local._reach : {
      for identity, role in roles : "${bucket}/${identity}" => { bucket = var.buckets[bucket], identity = identity, role = role }
    }
  ]...)
}

resource "google_storage_bucket_iam_member" "default" {
  for_each = local.reach
  bucket   = each.value.bucket
  role     = each.value.role
  member   = google_service_account.default[each.value.identity].member
}
