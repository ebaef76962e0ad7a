# One OpenEMR: its identities, its secrets, its place in the backup bucket, its job and its service.

module "identity" {
  source = "./modules/clinic-identity"
  clinic = var.clinic
  names = {
    init = var.names.init_account
    web  = var.names.web_account
  }
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
      readers = { init = module.identity.init.member }
    }
    database_password = {
      name    = var.names.database_password_secret
      readers = merge(local.provision_reader, { init = module.identity.init.member, web = module.identity.web.member })
    }
    redis_password = {
      name    = var.names.redis_password_secret
      readers = merge(local.provision_reader, { web = module.identity.web.member })
    }
  }
}

module "backups" {
  source  = "./modules/backups"
  bucket  = var.backup_bucket
  clinic  = var.clinic
  writers = merge(local.provision_reader, { init = module.identity.init.member })
  restore = local.restore_object == null ? null : {
    bucket = local.restore_object.bucket
    object = local.restore_object.object
    reader = module.identity.init.member
  }
}

module "nfs_init_job" {
  source      = "./modules/job"
  account     = module.identity.init.email
  args        = ["nfs-init"]
  environment = local.nfs_init_environment
  image       = var.images.job
  labels      = var.labels
  limits      = { cpu = "2", memory = "4Gi" }
  name        = var.names.nfs_init_job
  network     = var.platform.network
  region      = var.region
  share       = local.share
  # A restore of hundreds of gigabytes takes hours; nobody waits in Terraform for it.
  timeout_seconds = 24 * 60 * 60
  depends_on      = [module.secrets, module.backups]
}

module "service" {
  count              = var.serve ? 1 : 0
  source             = "./modules/service"
  account            = module.identity.web.email
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
