# The jobs of a clinic, one row each: as whom, how large, for how long at most. A row becomes a job where `var.jobs` names
# it. A restore, a first backup or a copy of hundreds of gigabytes takes hours; nobody waits in Terraform for it.

locals {
  _day   = 24 * 60 * 60
  _hour  = 60 * 60
  _large = { cpu = "2", memory = "4Gi" }
  _small = { cpu = "1", memory = "2Gi" }

  _jobs = {
    nfs-init        = { account = "init", limits = local._large, name = var.names.nfs_init_job, share = true, timeout = local._day }
    background      = { account = "web", limits = local._small, name = var.names.background_job, share = true, timeout = 2 * local._hour }
    backup          = { account = "backup", limits = local._large, name = var.names.backup_job, share = true, timeout = local._day }
    verify          = { account = "backup", limits = local._large, name = var.names.verify_job, share = false, timeout = local._day }
    drill           = { account = "backup", limits = local._large, name = var.names.drill_job, share = true, timeout = local._day }
    prune           = { account = "prune", limits = local._large, name = var.names.prune_job, share = false, timeout = local._day }
    rotate          = { account = "rotate", limits = local._small, name = var.names.rotate_job, share = true, timeout = local._day }
    redis-passwords = { account = "provision", limits = local._small, name = var.names.redis_passwords_job, share = false, timeout = 10 * 60 }
    upgrade         = { account = "init", limits = local._large, name = var.names.upgrade_job, share = true, timeout = local._day }
  }
  jobs = { for name, job in local._jobs : name => job if contains(var.jobs, name) }

  # Mail leaves as the service's does: a relay may know its senders by their address.
  egress = { background = var.service.vpc_egress }

  # Each identity is made where something runs as it.
  _accounts = {
    web    = { id = var.names.web_account, title = "serves" }
    init   = { id = var.names.init_account, title = "installs, restores and upgrades" }
    backup = { id = var.names.backup_account, title = "makes and checks backups" }
    rotate = { id = var.names.rotate_account, title = "changes passwords" }
  }
  accounts = {
    for name, account in local._accounts : name => account
    if contains(concat(["web"], [for job in local.jobs : job.account]), name)
  }

  # Pruning has an identity of its own, the foundation's: what it prunes outlives the clinic. Redis's users are made by
  # the platform's, the only one that knows Redis's own password.
  prune_account = "${var.names.prune_account}@${var.project}.iam.gserviceaccount.com"
  emails = merge(
    { for name, account in module.identity.accounts : name => account.email },
    { prune = local.prune_account, provision = try(var.platform.provision.account, "") },
  )
  pruner       = contains(var.jobs, "prune") ? { prune = "serviceAccount:${local.prune_account}" } : {}
  backup_maker = contains(keys(local.accounts), "backup") ? { backup = module.identity.accounts["backup"].member } : {}
  rotator      = contains(keys(local.accounts), "rotate") ? { rotate = module.identity.accounts["rotate"].member } : {}

  schedules = {
    for job, times in var.schedules : job => {
      cron      = times.cron
      job       = local._jobs[job].name
      time_zone = times.time_zone
    }
  }
}
