# A pipeline's identities, without any key: the planner reads, the deployer changes this environment, the destroyer
# alone takes it down. Each has one custom role on the project, made of the commands it runs, and its own reach into the
# environment's buckets. Who binds roles on the project has that right by a second one. None of them can change what
# stands here.

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
  permissions = setsubtract(each.value.permissions, [local._grant])
  # Stays when it is destroyed: see roles.
  deletion_policy = "ABANDON"
}

resource "google_project_iam_member" "default" {
  for_each = var.identities
  project  = var.project
  role     = google_project_iam_custom_role.default[each.key].name
  member   = google_service_account.default[each.key].member
}

# The right to change the project's policy is that of an owner, unless Google compares which roles a change touches. It
# does so for projects and not for buckets, jobs and services, hence a role of its own:
# https://cloud.google.com/iam/docs/setting-limits-on-granting-roles
locals {
  _grant   = "resourcemanager.projects.setIamPolicy"
  grantors = { for name, identity in var.identities : name => identity if contains(identity.permissions, local._grant) }
}

resource "google_project_iam_custom_role" "grants" {
  for_each        = local.grantors
  project         = var.project
  role_id         = "${replace(each.value.account, "-", "_")}_grants"
  title           = "OpenEMR's ${each.key}: grants"
  description     = "Change who has which role on the project, within the limits of the condition."
  permissions     = [local._grant]
  deletion_policy = "ABANDON"
}

resource "google_project_iam_member" "grants" {
  for_each = local.grantors
  project  = var.project
  role     = google_project_iam_custom_role.grants[each.key].name
  member   = google_service_account.default[each.key].member

  condition {
    title       = "only this stack's roles"
    description = "The roles that platform and clinics bind on the project."
    expression  = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([${join(", ", formatlist("'%s'", var.grantable))}])"
  }
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
