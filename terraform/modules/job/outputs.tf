output "name" {
  description = "Full name of the job: projects/PROJECT/locations/REGION/jobs/JOB."
  value       = google_cloud_run_v2_job.default.id
}
