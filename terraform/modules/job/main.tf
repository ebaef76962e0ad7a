resource "google_cloud_run_v2_job" "default" {
  name     = var.name
  location = var.region
  labels   = var.labels
  # A job holds nothing; what it works on protects itself.
  deletion_protection = false

  template {
    labels     = var.labels
    task_count = 1

    template {
      service_account       = var.account
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      # Whoever starts a job decides whether a failed one is run again.
      max_retries = 0
      timeout     = "${var.timeout_seconds}s"

      containers {
        image = var.image
        args  = var.args

        resources {
          limits = var.limits
        }

        dynamic "env" {
          for_each = var.environment
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "volume_mounts" {
          for_each = var.share[*]
          content {
            name       = "share"
            mount_path = volume_mounts.value.mount
          }
        }
      }

      dynamic "volumes" {
        for_each = var.share[*]
        content {
          name = "share"
          nfs {
            server = volumes.value.server
            path   = volumes.value.path
          }
        }
      }

      vpc_access {
        egress = var.egress
        network_interfaces {
          network    = var.network.network
          subnetwork = var.network.subnetwork
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }
}
