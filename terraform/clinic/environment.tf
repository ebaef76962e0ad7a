# What the containers of a clinic are told.

locals {
  _place = "projects/${var.project}/locations/${var.region}"
  # The jobs that hold a password while they run.
  waited_for = { for name, job in local.jobs : name => job.name if !contains(["redis-passwords", "rotate"], name) }

  _registry = try(regex("^(?P<location>[a-z0-9-]+)-docker[.]pkg[.]dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/", var.images.service), null)
  # Who reads images of another project is for that project to say; null also where they are not in Artifact Registry.
  registry = try(local._registry.project, "") == var.project ? local._registry : null

  sites = "/var/www/localhost/htdocs/openemr/sites"
  share = {
    mount  = local.sites
    path   = var.names.share_path
    server = var.platform.files.address
  }

  provision_reader = var.platform.provision == null ? {} : {
    provision = "serviceAccount:${var.platform.provision.account}"
  }

  restore_object = (
    var.restore != null && try(var.restore.source, "") == "gcs"
    ? regex("^gs://(?P<bucket>[^/]+)/(?P<object>.+)$", var.restore.uri)
    : null
  )

  _database = {
    MYSQL_DATABASE = var.names.schema
    MYSQL_HOST     = var.platform.database.host
    MYSQL_PORT     = tostring(var.platform.database.port)
    MYSQL_SSL_CA   = var.platform.database.server_ca
    MYSQL_USER     = var.names.database_user
  }

  _restore = var.restore == null ? {} : {
    BACKUP_FILEID = var.restore.uri
    BACKUP_SOURCE = var.restore.source
  }

  # OpenEMR keeps these in the clinic's database, where nfs-init writes them.
  _openemr_settings = merge(
    { for name, value in var.service.environment : name => value if can(regex("^(OPENEMR_SETTING_|SMTP_|EMAIL_FROM$)", name)) },
    { PUBLIC_URL = var.service.public_url },
  )

  _job = merge(local._database, {
    MYSQL_PASS_SECRET      = module.secrets.ids.database_password
    MYSQL_STAGING_DATABASE = var.names.staging_schema
    OPENEMR_VERSION        = coalesce(var.openemr.jobs, var.openemr.version)
  })

  _store = {
    BACKUP_BUCKET        = var.backup_bucket
    BACKUP_PASS_SECRET   = "projects/${var.project}/secrets/${var.names.backup_password_secret}"
    BACKUP_PASS_VERSION  = "current"
    CLINIC               = var.clinic
    ENVIRONMENT          = lookup(var.labels, "environment", "")
    GOOGLE_CLOUD_PROJECT = var.project
  }

  _redis = {
    REDIS_PASS_SECRET  = module.secrets.ids.redis_password
    REDIS_PASS_VERSION = "current"
    REDIS_PORT         = tostring(var.platform.redis.port)
    REDIS_PREFIX       = var.names.redis_prefix
    REDIS_SERVER       = var.platform.redis.host
    REDIS_USERNAME     = var.names.redis_user
  }

  # Nobody is there to pin a version for a job that starts by itself: it takes the one that the secret's alias names.
  _on_schedule = merge(local._job, local._store, { MYSQL_PASS_VERSION = "current" })

  _upgrade = var.upgrade == null ? {} : {
    OPENEMR_VERSION = var.upgrade.to
    REHEARSE        = var.upgrade.rehearsal ? "yes" : "no"
    UPGRADE_BACK    = var.upgrade.back
    UPGRADE_FROM    = var.upgrade.from
    UPGRADE_SET     = var.upgrade.set
  }

  job_environments = {
    nfs-init = merge(local._openemr_settings, local._restore, local._job, local._store, {
      MYSQL_KEPT_DATABASE = var.names.kept_schema
      OE_PASS_SECRET      = module.secrets.ids.admin_password
      OE_USER             = var.admin_user
    })
    background = merge(local._job, { GOOGLE_CLOUD_PROJECT = var.project, MYSQL_PASS_VERSION = "current" })
    backup     = merge(local._on_schedule, { DRILL_DAYS = tostring(var.backups.drill_days) })
    verify     = merge(local._store, { READ_DATA = tostring(var.backups.read_percent) })
    drill      = merge(local._on_schedule, { MYSQL_SCRATCH_DATABASE = var.names.scratch_schema })
    prune      = merge(local._store, { for generation, sets in var.backups.keep : "KEEP_${upper(generation)}" => tostring(sets) })
    redis-passwords = merge(local._store, local._redis, {
      REDIS_ADMIN_SECRET  = var.platform.redis.admin_secret
      REDIS_ADMIN_VERSION = "current"
    })
    rotate = merge(local._on_schedule, local._redis, {
      EVERY_DAYS      = tostring(var.rotation.every_days)
      JOBS            = join(",", [for name in sort(keys(local.waited_for)) : "${local._place}/jobs/${local.waited_for[name]}"])
      OE_PASS_SECRET  = module.secrets.ids.admin_password
      OE_PASS_VERSION = "current"
      OE_USER         = var.admin_user
      REDIS_JOB       = "${local._place}/jobs/${var.names.redis_passwords_job}"
      SERVICE         = "${local._place}/services/${var.names.service}"
      STATE_BUCKET    = var.rotation.state_bucket
      WHAT            = join(",", sort(var.rotation.secrets))
    })
    upgrade = merge(local._on_schedule, { MYSQL_SCRATCH_DATABASE = var.names.scratch_schema }, local._upgrade)
  }

  # What the environment file adds comes first, so that it cannot point a clinic at another's database or sessions.
  service_environment = merge(var.service.environment, local._database, {
    GOOGLE_CLOUD_PROJECT  = var.project
    OE_USER               = var.admin_user
    OPENEMR_MAX_INSTANCES = tostring(var.service.max_instances)
    OPENEMR_VERSION       = var.openemr.version
    PUBLIC_URL            = var.service.public_url
    REDIS_PORT            = tostring(var.platform.redis.port)
    REDIS_PREFIX          = var.names.redis_prefix
    REDIS_SERVER          = var.platform.redis.host
    REDIS_USERNAME        = var.names.redis_user
  })

  service_secrets = var.secret_versions == null ? {} : {
    MYSQL_PASS = {
      secret  = module.secrets.names.database_password
      version = var.secret_versions.database_password
    }
    REDIS_PASSWORD = {
      secret  = module.secrets.names.redis_password
      version = var.secret_versions.redis_password
    }
  }
}
