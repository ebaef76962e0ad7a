# What the clinics of an environment share and a teardown removes: network, database instance, files and Redis.

module "network" {
  source = "./modules/network"
  cidr   = var.network.cidr
  names = {
    nat     = var.names.nat
    network = var.names.network
    router  = var.names.router
    subnet  = var.names.subnet
  }
  region = var.region
}

module "database" {
  source  = "./modules/database"
  labels  = var.labels
  network = module.network.network
  names = {
    address  = var.names.database_address
    instance = var.names.database_instance
    zone     = var.names.dns_zone
  }
  project    = var.project
  protect    = var.protect
  region     = var.region
  settings   = var.database
  subnetwork = module.network.subnetwork
  zone       = var.zone
}

module "secrets" {
  source  = "./modules/secrets"
  labels  = var.labels
  project = var.project
  protect = var.protect
  region  = var.region
  secrets = {
    redis_admin = {
      name = var.names.redis_admin_secret
      readers = {
        files     = module.files.member
        provision = module.provision.member
      }
    }
  }
}

module "files" {
  source  = "./modules/files"
  clients = module.network.cidr
  labels  = var.labels
  names = {
    account   = var.names.files_account
    address   = var.names.files_address
    disk      = var.names.files_disk
    health    = var.names.files_health
    instance  = var.names.files_instance
    snapshots = var.names.files_snapshots
  }
  network            = module.network.network
  project            = var.project
  protect            = var.protect
  redis_admin_secret = module.secrets.ids.redis_admin
  region             = var.region
  settings           = var.files
  subnetwork         = module.network.subnetwork
  zone               = var.zone
}

module "provision" {
  source            = "./modules/provision"
  account           = var.names.provision_account
  database_instance = module.database.instance
  project           = var.project
  roles             = var.roles
}

module "provision_job" {
  count   = var.provision == null ? 0 : 1
  source  = "./modules/job"
  account = module.provision.email
  args    = ["provision"]
  environment = {
    GOOGLE_CLOUD_PROJECT = var.project
    MYSQL_HOST           = module.database.host
    MYSQL_PORT           = tostring(module.database.port)
    MYSQL_SSL_CA         = module.database.server_ca
    REDIS_ADMIN_SECRET   = module.secrets.ids.redis_admin
    REDIS_ADMIN_VERSION  = var.provision.redis_admin_version
    REDIS_PORT           = tostring(module.files.redis.port)
    REDIS_SERVER         = module.files.redis.host
    SQL_INSTANCE         = module.database.instance
  }
  image           = var.provision.image
  labels          = var.labels
  limits          = { cpu = "1", memory = "1Gi" }
  name            = var.names.provision_job
  network         = module.network
  region          = var.region
  share           = { server = module.files.address, path = module.files.export, mount = "/mnt/share" }
  timeout_seconds = var.provision.timeout
  depends_on      = [module.secrets]
}

module "observability" {
  source   = "./modules/observability"
  alerts   = local.alerts
  channels = var.alerts.channels
  emails   = var.alerts.emails
  labels   = var.labels
  prefix   = var.alerts.prefix
  project  = var.project
}
