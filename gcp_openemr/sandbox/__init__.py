"""The embedded Google Cloud: API server, Terraform provider, process runtime."""
