output "channels" {
  description = "Full names of the channels that hear of alerts."
  value       = module.observability.channels
}

output "database" {
  description = "The database instance: its name, the host name its certificate is for, its port, and the PEM of its CA."
  value = {
    host      = module.database.host
    instance  = module.database.instance
    port      = module.database.port
    server_ca = module.database.server_ca
  }
}

output "files" {
  description = "The file server: address and exported path."
  value = {
    address = module.files.address
    export  = module.files.export
  }
}

output "network" {
  description = "Network and subnetwork, by full name."
  value = {
    network    = module.network.network
    subnetwork = module.network.subnetwork
  }
}

output "provision" {
  description = "Full name of the provision job and the email of its account; null without an image."
  value = var.provision == null ? null : {
    account = module.provision.email
    job     = module.provision_job[0].name
  }
}

output "redis" {
  description = "Redis: host and port, and the full name of the secret with its own password."
  value       = merge(module.files.redis, { admin_secret = module.secrets.ids.redis_admin })
}

output "rotation" {
  description = "Full names of the roles that clinics bind for their rotations."
  value       = { revisions = var.roles.revisions, secrets = var.roles.secrets }
}
