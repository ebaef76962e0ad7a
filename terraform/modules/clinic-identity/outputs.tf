output "init" {
  description = "The account that installs and restores: email and IAM member."
  value = {
    email  = google_service_account.init.email
    member = google_service_account.init.member
  }
}

output "web" {
  description = "The account that serves: email and IAM member."
  value = {
    email  = google_service_account.web.email
    member = google_service_account.web.member
  }
}
