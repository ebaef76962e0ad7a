# Starts Cloud Run jobs at their times, as an account that may start these jobs and do nothing else.

resource "google_service_account" "default" {
  count        = length(var.schedules) > 0 ? 1 : 0
  account_id   = var.account
  display_name = var.title
}

resource "google_cloud_run_v2_job_iam_member" "invoker" {
  for_each = var.schedules
  name     = each.value.job
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.default[0].member
}

# A run that could not be started is tried again for an hour; a run that failed is not.
resource "google_cloud_scheduler_job" "default" {
  for_each         = var.schedules
  name             = each.value.job
  description      = "Starts ${each.value.job}"
  region           = var.region
  schedule         = each.value.cron
  time_zone        = each.value.time_zone
  attempt_deadline = "180s"

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project}/locations/${var.region}/jobs/${each.value.job}:run"

    oauth_token {
      service_account_email = google_service_account.default[0].email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }

  retry_config {
    retry_count          = 5
    max_retry_duration   = "3600s"
    min_backoff_duration = "60s"
    max_backoff_duration = "900s"
    max_doublings        = 4
  }

  depends_on = [google_cloud_run_v2_job_iam_member.invoker]
}
