locals {
  _names = google_sql_database_instance.default.dns_names
  # The name that the server's certificate carries for clients inside a network.
  _host = try(
    [for name in local._names : name.name if name.connection_type == "PRIVATE_SERVICE_CONNECT"][0],
    google_sql_database_instance.default.dns_name,
  )
  host = trimsuffix(local._host, ".")
  # Query Insights needs memory that machines with a shared core do not have.
  shared_core = contains(["db-f1-micro", "db-g1-small"], var.settings.tier)
}

# Terraform makes no user: those made through the Admin API are nearly root. The provider removes the root account
# that a new instance has without a password.
resource "google_sql_database_instance" "default" {
  #checkov:skip=CKV_GCP_6:TLS is enforced; clients prove themselves by password, and a key file per client would be one more secret to lose.
  #checkov:skip=CKV_GCP_14:Off only in environments whose profile says that their data may be lost.
  #checkov:skip=CKV2_GCP_20:On wherever backups are; see CKV_GCP_14.
  name                = var.names.instance
  region              = var.region
  database_version    = var.settings.database_version
  deletion_protection = var.protect

  settings {
    tier                        = var.settings.tier
    edition                     = var.settings.edition
    availability_type           = var.settings.availability_type
    deletion_protection_enabled = var.protect
    disk_autoresize             = true
    disk_size                   = var.settings.disk_size_gb
    disk_type                   = "PD_SSD"
    retain_backups_on_delete    = var.protect
    user_labels                 = var.labels

    backup_configuration {
      enabled                        = var.settings.backups
      binary_log_enabled             = var.settings.backups
      location                       = var.region
      start_time                     = "02:00"
      transaction_log_retention_days = var.settings.backups ? 7 : null

      backup_retention_settings {
        retained_backups = 14
        retention_unit   = "COUNT"
      }
    }

    dynamic "final_backup_config" {
      for_each = var.protect ? [30] : []
      content {
        enabled        = true
        retention_days = final_backup_config.value
      }
    }

    dynamic "database_flags" {
      for_each = local.flags
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }

    insights_config {
      query_insights_enabled = !local.shared_core
      # Statements come without their literals; a sampled plan could hold some.
      query_plans_per_minute  = 0
      record_application_tags = false
      record_client_address   = false
    }

    ip_configuration {
      ipv4_enabled   = false
      server_ca_mode = "GOOGLE_MANAGED_CAS_CA"
      ssl_mode       = "ENCRYPTED_ONLY"

      psc_config {
        psc_enabled               = true
        allowed_consumer_projects = [var.project]
      }
    }

    location_preference {
      zone = var.zone
    }

    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }
  }

  # The disk grows by itself; taking it back to its first size would replace the instance.
  lifecycle {
    ignore_changes = [settings[0].disk_size]
  }
}

locals {
  flags = {
    # Clients cannot make the server read their files, nor be made to send them.
    local_infile = "off"
    # With a binary log only near-root accounts could restore a dump that holds triggers or functions.
    log_bin_trust_function_creators = "on"
  }
}
