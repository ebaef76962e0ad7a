# Alerts are rows: what is watched, from which value on, and what to do about it.

locals {
  # A row's `email` channels are made here, the others exist already.
  channels = concat(sort(tolist(var.channels)), [for channel in google_monitoring_notification_channel.email : channel.name])
  metrics  = { for key, alert in var.alerts : key => alert if alert.metric != null }
  logs     = { for key, alert in var.alerts : key => alert if alert.log != null }
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.emails
  type         = "email"
  display_name = "${var.prefix}: ${each.value}"
  labels       = { email_address = each.value }
  user_labels  = var.labels
}

resource "google_monitoring_alert_policy" "metric" {
  for_each              = local.metrics
  display_name          = "${var.prefix}: ${each.value.title}"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = each.value.severity
  user_labels           = var.labels

  conditions {
    display_name = each.value.title
    condition_threshold {
      filter                  = each.value.metric.filter
      comparison              = each.value.metric.comparison
      threshold_value         = each.value.metric.threshold
      duration                = "${each.value.metric.seconds}s"
      evaluation_missing_data = each.value.metric.missing

      aggregations {
        alignment_period     = "${each.value.metric.window}s"
        per_series_aligner   = each.value.metric.aligner
        cross_series_reducer = each.value.metric.reducer
      }
    }
  }

  documentation {
    content   = each.value.do
    mime_type = "text/markdown"
  }
}

resource "google_monitoring_alert_policy" "log" {
  for_each              = local.logs
  display_name          = "${var.prefix}: ${each.value.title}"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = each.value.severity
  user_labels           = var.labels

  conditions {
    display_name = each.value.title
    condition_matched_log {
      filter = each.value.log
    }
  }

  # Google asks for both with log matches.
  alert_strategy {
    auto_close = "86400s"
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content   = each.value.do
    mime_type = "text/markdown"
  }
}
