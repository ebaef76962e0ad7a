# What outlives every teardown: APIs, buckets, the image registry and the identity that builds images.

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
