output "accounts" {
  description = "By what they are for: each account's email and IAM member."
  value = {
    for key, account in google_service_account.default : key => { email = account.email, member = account.member }
  }
}
