# One OpenEMR: its identities, its secrets, its place in the backup bucket, its job and its service.

module "identity" {
  source   = "./modules/clinic-identity"
  accounts = local.accounts
  clinic   = var.clinic
}

module "secrets" {
  source  = "./modules/secrets"
  labels  = var.labels
  project = var.project
  protect = var.protect
  region  = var.region
  secrets = {
    admin_password = {
      name    = var.names.admin_password_secret
      readers = { init = module.identity.accounts["init"].member }
    }
    database_password = {
      name    = var.names.database_password_secret
      readers = merge(local.provision_reader, local.backup_maker, { init = module.identity.accounts["init"].member, web = module.identity.accounts["web"].member })
    }
    redis_password = {
      name    = var.names.redis_password_secret
      readers = merge(local.provision_reader, { web = module.identity.accounts["web"].member })
    }
  }
}

module "backups" {
  source  = "./modules/backups"
  bucket  = var.backup_bucket
  clinic  = var.clinic
  writers = merge(local.provision_reader, local.backup_maker, local.pruner, local.rotator, { init = module.identity.accounts["init"].member })
  store = {
    folder    = "clinics/${var.clinic}/backups/"
    makers    = local.backup_maker
    project   = var.project
    readers   = { init = module.identity.accounts["init"].member }
    secret    = var.names.backup_password_secret
    witnesses = local.provision_reader
  }
  restore = local.restore_object == null ? null : {
    bucket = local.restore_object.bucket
    object = local.restore_object.object
    reader = module.identity.accounts["init"].member
  }
}

module "job" {
  for_each        = local.jobs
  source          = "./modules/job"
  account         = local.emails[each.value.account]
  args            = [each.key]
  egress          = lookup(local.egress, each.key, "PRIVATE_RANGES_ONLY")
  environment     = local.job_environments[each.key]
  image           = each.key == "upgrade" ? try(var.upgrade.image, var.images.job) : var.images.job
  labels          = var.labels
  limits          = each.value.limits
  name            = each.value.name
  network         = var.platform.network
  region          = var.region
  share           = each.value.share ? local.share : null
  timeout_seconds = each.value.timeout
  depends_on      = [module.secrets, module.backups]
}

module "schedule" {
  source     = "./modules/schedule"
  account    = var.names.schedule_account
  project    = var.project
  region     = var.region
  schedules  = local.schedules
  title      = "OpenEMR of ${var.clinic}: starts jobs at their times"
  depends_on = [module.job]
}

module "service" {
  count              = var.serve ? 1 : 0
  source             = "./modules/service"
  account            = module.identity.accounts["web"].email
  environment        = local.service_environment
  image              = var.images.service
  labels             = var.labels
  name               = var.names.service
  network            = var.platform.network
  protect            = var.protect
  region             = var.region
  secret_environment = local.service_secrets
  settings           = var.service
  share              = local.share
  depends_on         = [module.secrets]
}

module "rotation" {
  count        = contains(var.jobs, "rotate") ? 1 : 0
  source       = "./modules/rotation"
  jobs         = { for name, job in local.jobs : name => job.name if name != "redis-passwords" }
  lock         = { bucket = var.rotation.state_bucket, object = "${lookup(var.labels, "environment", "")}/environment.lock" }
  member       = module.identity.accounts["rotate"].member
  project      = var.project
  redis_job    = var.names.redis_passwords_job
  redis_member = one(values(local.provision_reader))
  region       = var.region
  registry     = local.registry
  roles        = var.platform.rotation
  secrets      = merge(module.secrets.names, { backup_password = var.names.backup_password_secret })
  service      = var.serve ? var.names.service : null
  store        = { bucket = var.backup_bucket, folder = "clinics/${var.clinic}/backups/" }
  web_account  = "projects/${var.project}/serviceAccounts/${module.identity.accounts["web"].email}"
  depends_on   = [module.job, module.service]
}

module "observability" {
  source   = "./modules/observability"
  alerts   = local.alerts
  channels = var.platform.channels
  labels   = var.labels
  prefix   = var.names.service
  project  = var.project
  uptime   = local.uptime
}
