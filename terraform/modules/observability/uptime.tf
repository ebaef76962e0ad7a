# From outside, as people come: over TLS with a certificate that is checked.
resource "google_monitoring_uptime_check_config" "default" {
  count              = var.uptime == null ? 0 : 1
  display_name       = var.prefix
  period             = "300s"
  timeout            = "10s"
  checker_type       = "STATIC_IP_CHECKERS"
  log_check_failures = true
  user_labels        = var.labels

  http_check {
    path         = var.uptime.path
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      host       = var.uptime.host
      project_id = var.project
    }
  }
}

resource "google_monitoring_alert_policy" "uptime" {
  count                 = var.uptime == null ? 0 : 1
  display_name          = "${var.prefix}: not reachable"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = "CRITICAL"
  user_labels           = var.labels

  conditions {
    display_name = "${var.uptime.host} does not answer"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"uptime_url\"",
        "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\"",
        "metric.label.check_id = \"${google_monitoring_uptime_check_config.default[0].uptime_check_id}\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "300s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.*"]
      }
    }
  }

  documentation {
    content   = "Two or more places of the world get no answer from ${var.uptime.host}${var.uptime.path}. `gcp-openemr status` says what is wrong."
    mime_type = "text/markdown"
  }
}
