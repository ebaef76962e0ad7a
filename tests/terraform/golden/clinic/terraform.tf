# Environment prod, root clinic. Rendered by gcp-openemr, which overwrites changes made here.

terraform {
  required_version = ">= 1.9"

  backend "gcs" {
    bucket = "example-clinic-oe-prod-state"
    prefix = "prod/clinic"
  }

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
