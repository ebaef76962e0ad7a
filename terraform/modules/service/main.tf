locals {
  _ingress = {
    all                               = "INGRESS_TRAFFIC_ALL"
    internal                          = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    internal-and-cloud-load-balancing = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  }
  ingress = local._ingress[var.settings.ingress]
}

resource "google_cloud_run_v2_service" "default" {
  name                = var.name
  location            = var.region
  deletion_protection = var.protect
  ingress             = local.ingress
  labels              = var.labels

  template {
    service_account                  = var.account
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    labels                           = var.labels
    max_instance_request_concurrency = var.settings.concurrency
    session_affinity                 = true
    timeout                          = "${var.settings.timeout}s"

    scaling {
      max_instance_count = var.settings.max_instances
      min_instance_count = var.settings.min_instances
    }

    containers {
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        # OpenEMR's background services need a CPU between requests; an instance that may end has none to give them.
        cpu_idle          = var.settings.min_instances == 0
        startup_cpu_boost = true
        limits = {
          cpu    = var.settings.cpu
          memory = var.settings.memory
        }
      }

      dynamic "env" {
        for_each = var.environment
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secret_environment
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      # Asked from the first second on: an instance serves as soon as it can. 80 × 3 s is the longest Cloud Run allows,
      # for an egress connection that can take a minute to stand.
      startup_probe {
        period_seconds    = 3
        timeout_seconds   = 2
        failure_threshold = 80
        http_get {
          path = "/health/live"
          port = 8080
        }
      }

      # Asks neither database nor share: restarting instances does not bring those back.
      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/health/live"
          port = 8080
        }
      }

      # Asks database and share too: while they are away, an instance gets no new requests and keeps running.
      readiness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/health/ready"
          port = 8080
        }
      }

      volume_mounts {
        name       = "sites"
        mount_path = var.share.mount
      }
    }

    volumes {
      name = "sites"
      nfs {
        server = var.share.server
        path   = var.share.path
      }
    }

    vpc_access {
      egress = var.settings.vpc_egress
      network_interfaces {
        network    = var.network.network
        subnetwork = var.network.subnetwork
      }
    }
  }

  # Which revision gets traffic is the orchestrator's business: a new one gets it when it is ready.
  lifecycle {
    ignore_changes = [client, client_version, template[0].revision, traffic]
  }
}
