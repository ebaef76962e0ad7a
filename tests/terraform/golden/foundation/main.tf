# What outlives every teardown: APIs, buckets, backups' passwords, the audit log, the image registry, custom roles, the
# identity that builds images and those of a pipeline.

module "services" {
  source   = "./modules/services"
  services = var.services
}

module "state_bucket" {
  source   = "./modules/bucket"
  labels   = var.labels
  location = var.region
  name     = var.names.state_bucket
  protect  = var.protect
  retention = {
    noncurrent_days     = 90
    noncurrent_versions = 50
    soft_delete_days    = 30
  }
  depends_on = [module.services]
}

module "backup_bucket" {
  source   = "./modules/bucket"
  labels   = var.labels
  location = var.region
  name     = var.names.backup_bucket
  protect  = var.protect
  retention = {
    noncurrent_days  = 30
    soft_delete_days = 30
  }
  depends_on = [module.services]
}

module "build_bucket" {
  source     = "./modules/bucket"
  labels     = var.labels
  location   = var.region
  name       = var.names.build_bucket
  protect    = var.protect
  retention  = { current_days = 30 }
  depends_on = [module.services]
}

module "registry" {
  source     = "./modules/registry"
  labels     = var.labels
  name       = var.names.registry
  project    = var.project
  region     = var.region
  protect    = var.protect
  writers    = { build = module.build_identity.member }
  depends_on = [module.services]
}

module "build_identity" {
  source        = "./modules/build-identity"
  name          = var.names.builder
  project       = var.project
  source_bucket = module.build_bucket.name
  depends_on    = [module.services]
}

module "backup_store" {
  source     = "./modules/backup-store"
  for_each   = var.clinics
  bucket     = module.backup_bucket.name
  clinic     = each.key
  names      = { account = each.value.prune_account }
  protect    = var.protect
  depends_on = [module.services]
}

module "backup_passwords" {
  source  = "./modules/secrets"
  labels  = var.labels
  project = var.project
  protect = var.protect
  region  = var.region
  secrets = {
    for clinic, names in var.clinics : clinic => {
      name    = names.backup_password_secret
      readers = { prune = module.backup_store[clinic].pruner.member }
    }
  }
  depends_on = [module.services]
}

module "audit" {
  source = "./modules/audit"
  names = {
    bucket = var.names.log_bucket
    sink   = var.names.log_sink
  }
  project        = var.project
  protect        = var.protect
  region         = var.region
  retention_days = var.audit.retention_days
  services       = var.audit.data_access_logs ? local.audited : []
  depends_on     = [module.services]
}

module "roles" {
  source     = "./modules/roles"
  prefix     = replace(var.names.provision_account, "-", "_")
  depends_on = [module.services]
}

module "ci" {
  source = "./modules/ci"
  count  = var.ci == null ? 0 : 1
  buckets = {
    backups = module.backup_bucket.name
    build   = module.build_bucket.name
    state   = module.state_bucket.name
  }
  grantable = local.grantable
  identities = {
    for name, account in { planner = var.names.planner_account, deployer = var.names.deployer_account, destroyer = var.names.destroyer_account } :
    name => { account = account, permissions = var.ci.roles[name].permissions, purpose = var.ci.roles[name].purpose }
  }
  pool       = var.names.ci_pool
  project    = var.project
  trust      = var.ci.trust
  depends_on = [module.services]
}

locals {
  # What platform and clinics bind on the project, and a pipeline may bind there.
  grantable = [
    module.roles.names.operations,
    module.roles.names.users,
    "roles/compute.osAdminLogin",
    "roles/iap.tunnelResourceAccessor",
    "roles/monitoring.metricWriter",
  ]

  # Where patients' data and passwords are read and written.
  audited = toset([
    "cloudsql.googleapis.com",
    "compute.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])
}
