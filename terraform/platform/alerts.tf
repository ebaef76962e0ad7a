# What is watched in a platform. Each row says what to do, because it is read at night.
#
# Metrics and their labels: https://docs.cloud.google.com/monitoring/api/metrics_gcp_c (cloudsql) and metrics_gcp_p_z
# (run). Repairs by a group are entries of the method compute.instances.repair.recreateInstance, as seen in others' logs:
# https://docs.cloud.google.com/compute/docs/instance-groups/about-repair. Serial ports are in
# serialconsole.googleapis.com/serial_port_1_output:
# https://docs.cloud.google.com/compute/docs/troubleshooting/viewing-serial-port-output. No alert has been seen to fire.

locals {
  _group  = "${var.names.files_instance}-"
  _in_sql = "resource.type = \"cloudsql_database\" AND resource.label.database_id = \"${var.project}:${var.names.database_instance}\""

  # Cloud SQL's own limits: https://cloud.google.com/sql/docs/mysql/flags (max_connections)
  _connections = lookup({ db-f1-micro = 250, db-g1-small = 1000 }, var.database.tier, 4000)

  alerts = {
    files_lost = {
      title    = "the files machine was ill and is made again"
      severity = "CRITICAL"
      log = join(" AND ", [
        "resource.type = \"gce_instance\"",
        "protoPayload.methodName : \"compute.instances.repair.\"",
        "protoPayload.resourceName : \"/instances/${local._group}\"",
      ])
      do = "Its group makes it again on the same disk and address; clinics wait for it meanwhile. If this comes more than once, look at the machine's serial port in Cloud Logging."
    }
    files_stuck = {
      title    = "the files machine cannot start by itself"
      severity = "CRITICAL"
      log = join(" AND ", [
        "logName : \"serialconsole.googleapis.com\"",
        "resource.type = \"gce_instance\"",
        "textPayload =~ \"${local._group}[a-z0-9]+: ERROR: \"",
      ])
      do = "The line says what is wrong with the disk, which was left as it is. `[files] ssh_members` lets a person log in; the group makes the machine again every hour meanwhile, on the same disk."
    }
    files_disk = {
      title = "the share is filling"
      log = join(" AND ", [
        "logName : \"serialconsole.googleapis.com\"",
        "resource.type = \"gce_instance\"",
        "textPayload : \"openemr-files: the disk of ${local._group}\"",
      ])
      do = "Raise disk_size_gb in [files] of the environment file and deploy: the disk grows, and its filesystem by itself, without an interruption."
    }
    database_disk = {
      title = "the database's disk is filling faster than it grows"
      metric = {
        filter    = "${local._in_sql} AND metric.type = \"cloudsql.googleapis.com/database/disk/utilization\""
        seconds   = 900
        threshold = 0.8
      }
      do = "The disk grows by itself; when it does not, the instance stops taking writes. Look at the instance's operations in Cloud SQL."
    }
    database_connections = {
      title = "the database is running out of connections"
      metric = {
        filter    = "${local._in_sql} AND metric.type = \"cloudsql.googleapis.com/database/network/connections\""
        seconds   = 300
        threshold = floor(0.8 * local._connections)
      }
      do = "Lower max_instances or concurrency in [service] of the environment file, or take a larger tier in [database]."
    }
    provision_failed = {
      title = "the provision job failed"
      metric = {
        aligner   = "ALIGN_DELTA"
        filter    = "resource.type = \"cloud_run_job\" AND resource.label.job_name = \"${var.names.provision_job}\" AND metric.type = \"run.googleapis.com/job/completed_execution_count\" AND metric.label.result = \"failed\""
        threshold = 0
      }
      do = "`gcp-openemr deploy` says why and goes on from there. A temporary database administrator that the job left behind is removed by its next run."
    }
  }
}
