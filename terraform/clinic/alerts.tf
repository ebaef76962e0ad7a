# What is watched in a clinic. Each row says what to do, because it is read at night.
#
# Metrics and their labels: https://docs.cloud.google.com/monitoring/api/metrics_gcp_p_z (run); the instances' states,
# active and idle: https://docs.cloud.google.com/run/docs/release-notes (2021-03-03). The words of a probe that failed are
# as seen in others' logs: https://docs.cloud.google.com/run/docs/configuring/healthchecks. No alert has been seen to fire.

locals {
  # `background` comes again in minutes, so a single failure of it is no news.
  _of_jobs = "resource.type = \"cloud_run_job\" AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.label.result = \"failed\""
  _of_web  = "resource.type = \"cloud_run_revision\" AND resource.label.service_name = \"${var.names.service}\""

  # Jobs that each day has a run of, so that it can be missed: a day is the longest that a metric can be watched for.
  _daily = [for job, schedule in var.schedules : job if endswith(schedule.cron, " * * *")]

  _do = {
    nfs-init        = "`gcp-openemr deploy` says why and goes on from there. The clinic keeps serving what it has."
    background      = "Mail, reminders and what else OpenEMR does by itself waits; nothing is lost. `gcp-openemr logs --job background` shows what the job said."
    backup          = "`gcp-openemr backup create` says why, and makes the set that is missing. `gcp-openemr backup list` shows what there is."
    verify          = "`gcp-openemr backup verify` says what is damaged. The bucket keeps deleted and replaced objects for 30 days: bring them back before they go."
    drill           = "The newest set could not be restored for a trial. `gcp-openemr backup verify --data all` reads all of it; `gcp-openemr backup create` makes a new set."
    redis-passwords = "`gcp-openemr rotate --status` says how far the rotation came, and `gcp-openemr rotate` goes on from there."
    rotate          = "The clinic works with the passwords it has. `gcp-openemr rotate --status` says how far it came, and `gcp-openemr rotate` goes on from there."
    prune           = "Old sets stay until it succeeds; nothing is lost. `gcp-openemr logs` shows what the job said."
  }

  alerts = merge(
    {
      for name, job in local.jobs : "${name}_failed" => {
        title = "job ${name} failed"
        metric = {
          aligner   = "ALIGN_DELTA"
          filter    = "${local._of_jobs} AND resource.label.job_name = \"${job.name}\""
          threshold = name == "background" ? 2 : 0
          window    = name == "background" ? local._hour : 300
        }
        do = lookup(local._do, name, "`gcp-openemr logs` shows what the job said.")
      }
    },
    !contains(local._daily, "backup") ? {} : {
      backup_missing = {
        title    = "no backup set was made for a day"
        severity = "CRITICAL"
        metric = {
          aligner    = "ALIGN_DELTA"
          comparison = "COMPARISON_LT"
          filter     = "resource.type = \"cloud_run_job\" AND resource.label.job_name = \"${var.names.backup_job}\" AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.label.result = \"succeeded\""
          missing    = "EVALUATION_MISSING_DATA_ACTIVE"
          seconds    = 7200
          threshold  = 1
          window     = 86400
        }
        do = "`gcp-openemr backup create` makes one now and says what is wrong. Look whether Cloud Scheduler's job ${var.names.backup_job} is paused."
      }
    },
    !contains(keys(var.schedules), "drill") ? {} : {
      drill_missing = {
        title = "no set was restored for a trial in ${var.backups.drill_days} days"
        # A custom metric cannot be watched before its first point, nor its absence for longer than a day.
        log = "resource.type = \"cloud_run_job\" AND resource.labels.job_name = \"${var.names.backup_job}\" AND jsonPayload.overdue = \"drill\""
        do  = "A backup that nobody restored is a hope. `gcp-openemr backup drill` tries one now and says what is wrong; `gcp-openemr status` names the last good one."
      }
    },
    # A job that is not started tells of no password's age. One run may wait hours for the others of its environment.
    !contains(local._daily, "rotate") ? {} : {
      rotate_missing = {
        title = "nothing looked at the passwords' ages for a day and a half"
        metric = {
          aligner    = "ALIGN_DELTA"
          comparison = "COMPARISON_LT"
          filter     = "resource.type = \"cloud_run_job\" AND resource.label.job_name = \"${var.names.rotate_job}\" AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.label.result = \"succeeded\""
          missing    = "EVALUATION_MISSING_DATA_ACTIVE"
          seconds    = 12 * local._hour
          threshold  = 1
          window     = local._day
        }
        do = "Look whether Cloud Scheduler's job ${var.names.rotate_job} is paused. `gcp-openemr rotate --status` shows all ages, and `gcp-openemr rotate` changes the passwords now."
      }
    },
    !contains(keys(var.schedules), "rotate") ? {} : {
      rotation_missing = {
        title = "a password is older than ${var.rotation.every_days} days"
        log   = "resource.type = \"cloud_run_job\" AND resource.labels.job_name = \"${var.names.rotate_job}\" AND jsonPayload.overdue = \"rotation\""
        do    = "`gcp-openemr rotate` changes it and says what keeps it from being changed by itself; `gcp-openemr rotate --status` shows all ages."
      }
    },
    !var.serve ? {} : {
      errors = {
        title = "requests fail"
        metric = {
          aligner   = "ALIGN_RATE"
          filter    = "${local._of_web} AND metric.type = \"run.googleapis.com/request_count\" AND metric.label.response_code_class = \"5xx\""
          reducer   = "REDUCE_SUM"
          seconds   = 300
          threshold = 0.1
        }
        do = "`gcp-openemr status` asks the clinic's health part by part; `gcp-openemr logs` shows the errors."
      }
    },
    !var.serve ? {} : {
      unhealthy = {
        title = "an instance is not healthy"
        log = join(" AND ", [
          "resource.type = \"cloud_run_revision\"",
          "resource.labels.service_name = \"${var.names.service}\"",
          "logName : \"run.googleapis.com%2Fvarlog%2Fsystem\"",
          "severity >= ERROR",
          "textPayload : \"probe failed\"",
        ])
        do = "Cloud Run keeps requests from it, or ends it and starts another. `gcp-openemr status` asks the clinic's health part by part; `gcp-openemr logs` shows what the instance said."
      }
    },
    !var.serve || var.service.max_instances == 1 ? {} : {
      full = {
        title = "all instances are in use"
        metric = {
          filter    = "${local._of_web} AND metric.type = \"run.googleapis.com/container/instance_count\" AND metric.label.state = \"active\""
          reducer   = "REDUCE_SUM"
          seconds   = 900
          threshold = var.service.max_instances - 0.5
        }
        do = "Raise max_instances in [service] of the environment file and deploy, if the database takes more connections."
      }
    },
  )

  # From outside it can be asked where everybody may call, at the address people use: through a load balancer, at its own.
  _host  = var.service.public_url != "" ? var.service.public_url : try(module.service[0].uri, "")
  _open  = var.service.ingress == "all" || (var.service.ingress == "internal-and-cloud-load-balancing" && var.service.public_url != "")
  _asked = var.serve && var.service.public_access && local._open
  uptime = local._asked ? { host = split("/", split("//", local._host)[1])[0], path = "/health/ready" } : null
}
