terraform {
  # 1.11 introduced write-only arguments, which keep the secrets out of the state.
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.12"
    }
    # Only for the identities of service agents, in apis.tf, and for the budget, in budget.tf.
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 7.12"
    }
  }
}

provider "google" {
  project        = var.project_id
  region         = var.region
  default_labels = local.labels
}

provider "google-beta" {
  project = var.project_id
  region  = var.region

  # The API of budgets refuses the calls of a person without them. A removal needs them, too, when billing_account is no
  # longer set.
  user_project_override = true
  billing_project       = var.project_id
}
