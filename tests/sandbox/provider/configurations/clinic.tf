variable "image" {
  default = "docker.io/library/hello"
}

resource "google_service_account" "a" {
  account_id = "oe-test"
}

resource "google_compute_network" "n" {
  name                    = "net"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "s" {
  name          = "sub"
  network       = google_compute_network.n.id
  ip_cidr_range = "10.0.0.0/22"
}

resource "google_cloud_run_v2_job" "j" {
  name                = "oe-test-provision"
  location            = "europe-west1"
  deletion_protection = false
  template {
    task_count = var.changed ? 2 : 1
    template {
      service_account       = google_service_account.a.email
      timeout               = "600s"
      max_retries           = 0
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      containers {
        image = var.image
        args  = ["provision"]
        env {
          name  = "MYSQL_HOST"
          value = "db.internal"
        }
        resources {
          limits = { cpu = "1", memory = "1Gi" }
        }
        volume_mounts {
          name       = "share"
          mount_path = "/mnt/share"
        }
      }
      volumes {
        name = "share"
        nfs {
          server    = "10.0.0.5"
          path      = "/share"
          read_only = false
        }
      }
      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = google_compute_network.n.name
          subnetwork = google_compute_subnetwork.s.name
        }
      }
    }
  }
}

resource "google_cloud_run_v2_job_iam_member" "j" {
  name     = google_cloud_run_v2_job.j.name
  location = "europe-west1"
  role     = "roles/run.invoker"
  member   = google_service_account.a.member
}

resource "google_cloud_run_v2_service" "w" {
  name                = "oe-test-web"
  location            = "europe-west1"
  description         = var.changed ? "the clinic" : "a clinic"
  annotations         = { a = var.changed ? "c" : "b" }
  ingress             = var.changed ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"
  labels              = { clinic = var.changed ? "other" : "main" }
  deletion_protection = false
  template {
    service_account                  = google_service_account.a.email
    timeout                          = "300s"
    max_instance_request_concurrency = 40
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    session_affinity                 = true
    scaling {
      min_instance_count = 0
      max_instance_count = var.changed ? 3 : 2
    }
    containers {
      image = var.image
      env {
        name  = "MYSQL_HOST"
        value = var.changed ? "y" : "x"
      }
      env {
        name  = "EMPTY"
        value = ""
      }
      ports {
        container_port = 8080
      }
      resources {
        limits            = { cpu = "2", memory = "4Gi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }
      startup_probe {
        period_seconds    = 5
        failure_threshold = 24
        http_get {
          path = "/health/live"
        }
      }
      liveness_probe {
        http_get {
          path = "/health/live"
        }
      }
      volume_mounts {
        name       = "sites"
        mount_path = "/sites"
      }
    }
    volumes {
      name = "sites"
      nfs {
        server = "10.0.0.5"
        path   = "/share"
      }
    }
    volumes {
      name = "tmp"
      empty_dir {
        medium     = "MEMORY"
        size_limit = var.changed ? "128Mi" : "64Mi"
      }
    }
    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = google_compute_network.n.name
        subnetwork = google_compute_subnetwork.s.name
        tags       = ["web"]
      }
    }
  }
  lifecycle {
    ignore_changes = [traffic, client, client_version, template[0].revision]
  }
}

resource "google_cloud_run_v2_service_iam_member" "w" {
  name     = google_cloud_run_v2_service.w.name
  location = "europe-west1"
  role     = "roles/run.invoker"
  member   = "allUsers"
}

output "uri" {
  value = google_cloud_run_v2_service.w.uri
}
