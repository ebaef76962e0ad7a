resource "google_service_account" "a" {
  account_id = "oe-watch"
}

resource "google_cloud_scheduler_job" "j" {
  name             = "oe-backup"
  description      = var.changed ? "nightly" : "hourly"
  schedule         = var.changed ? "0 3 * * *" : "0 * * * *"
  time_zone        = var.changed ? "Etc/UTC" : "Europe/Berlin"
  attempt_deadline = var.changed ? "320s" : "300s"
  paused           = var.changed
  retry_config {
    retry_count = var.changed ? 2 : 1
  }
  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/demo-project/locations/europe-west1/jobs/${var.changed ? "b" : "a"}:run"
    body        = base64encode("{}")
    headers     = { Content-Type = "application/json" }
    oauth_token {
      service_account_email = google_service_account.a.email
    }
  }
}

resource "google_monitoring_notification_channel" "c" {
  display_name = var.changed ? "people" : "person"
  description  = var.changed ? "on duty" : "off duty"
  type         = "email"
  labels       = { email_address = var.changed ? "b@example.com" : "a@example.com" }
  user_labels  = { a = var.changed ? "c" : "b" }
  enabled      = !var.changed
  force_delete = var.changed
}

resource "google_monitoring_uptime_check_config" "u" {
  display_name     = var.changed ? "site" : "web"
  timeout          = var.changed ? "20s" : "10s"
  period           = var.changed ? "60s" : "300s"
  selected_regions = var.changed ? ["EUROPE", "USA_OREGON", "ASIA_PACIFIC"] : ["EUROPE", "USA_IOWA", "ASIA_PACIFIC"]
  user_labels      = { a = var.changed ? "c" : "b" }
  http_check {
    path         = var.changed ? "/health/ready" : "/health/live"
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }
  content_matchers {
    content = var.changed ? "fine" : "well"
  }
  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = "demo-project", host = "clinic.example.com" }
  }
}

resource "google_monitoring_alert_policy" "p" {
  display_name          = var.changed ? "down" : "gone"
  combiner              = var.changed ? "AND" : "OR"
  enabled               = !var.changed
  severity              = var.changed ? "CRITICAL" : "ERROR"
  notification_channels = var.changed ? [google_monitoring_notification_channel.c.name] : []
  user_labels           = { a = var.changed ? "c" : "b" }
  documentation {
    content   = var.changed ? "Look at the logs." : "Look."
    mime_type = "text/markdown"
  }
  alert_strategy {
    auto_close = var.changed ? "3600s" : "1800s"
  }
  conditions {
    display_name = "no answer"
    condition_threshold {
      filter          = "resource.type = \"uptime_url\" AND metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\""
      comparison      = "COMPARISON_LT"
      threshold_value = var.changed ? 2 : 1
      duration        = "60s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_FRACTION_TRUE"
      }
      trigger {
        count = 1
      }
    }
  }
}

resource "google_logging_project_bucket_config" "default" {
  project        = "demo-project"
  location       = "global"
  bucket_id      = "_Default"
  retention_days = var.changed ? 60 : 30
}

resource "google_logging_project_bucket_config" "audit" {
  project          = "demo-project"
  location         = "europe-west1"
  bucket_id        = "oe-audit"
  description      = var.changed ? "who read what" : "who"
  retention_days   = var.changed ? 400 : 365
  enable_analytics = var.changed
}

resource "google_logging_project_sink" "s" {
  name        = "oe-audit"
  description = var.changed ? "who read what" : "who"
  destination = "logging.googleapis.com/${google_logging_project_bucket_config.audit.id}"
  filter      = var.changed ? "logName:cloudaudit.googleapis.com%2Fdata_access" : "logName:cloudaudit.googleapis.com"
  disabled    = var.changed
  exclusions {
    name   = "health"
    filter = var.changed ? "severity = DEBUG" : "severity = INFO"
  }
}

resource "google_logging_metric" "m" {
  name        = "oe-backup-done"
  description = var.changed ? "backups that ended well" : "backups"
  filter      = var.changed ? "jsonPayload.event = \"backup-done\"" : "jsonPayload.event = \"backup\""
  disabled    = var.changed
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
    labels {
      key = "clinic"
    }
  }
  label_extractors = { clinic = var.changed ? "EXTRACT(jsonPayload.clinic)" : "EXTRACT(labels.clinic)" }
}
