# Lets the workflows of one GitHub repository plan and deploy, without keys. scripts/github applies this once; it has a
# state of its own, so a deployment cannot change its own rights.

terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.12"
    }
  }
}

variable "project_id" {
  description = "The project that the workflows deploy to."
  type        = string
}

variable "repository" {
  description = "The GitHub repository, such as \"acme/shop\"."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$", var.repository))
    error_message = "repository must have the form OWNER/REPO, such as \"acme/shop\"."
  }
}

variable "repository_id" {
  description = "The number of the repository. With it, a repository that later gets the same name has no access. To see it: gh api repos/OWNER/REPO --jq .id"
  type        = string
  default     = null

  validation {
    condition     = var.repository_id == null ? true : can(regex("^[0-9]+$", var.repository_id))
    error_message = "repository_id must be a number."
  }
}

variable "domain" {
  description = "The domain of the deployment, if it has one. Its load balancer needs another role."
  type        = string
  default     = null
}

variable "state_bucket" {
  description = "The bucket of Terraform's state, which a plan reads and a deployment writes."
  type        = string
}

provider "google" {
  project = var.project_id
}

locals {
  # What scripts/deploy needs. terraform/README.md has the same list, for people.
  deployer_roles = concat(var.domain == null ? [] : ["compute.loadBalancerAdmin"], [
    "artifactregistry.admin",
    "cloudbuild.builds.editor",
    "cloudscheduler.admin",
    "cloudtasks.admin",
    "datastore.owner",
    "iam.serviceAccountAdmin",
    "iam.serviceAccountUser",
    "logging.configWriter",
    "logging.viewer",
    "monitoring.editor",
    "pubsub.admin",
    "run.admin",
    "secretmanager.admin",
    "serviceusage.serviceUsageAdmin",
    "storage.admin",
  ])

  # The configuration grants only these roles on the project, so a deployment may grant no others there.
  granted_roles = ["roles/datastore.user", "roles/datastore.viewer", "roles/logging.logWriter", "roles/monitoring.viewer"]

  # A plan without a refresh reads the state, and the names of the secrets that have a value.
  planner_roles = ["browser", "secretmanager.viewer"]

  # The events whose tokens may act as each account. Workflows of a fork get no token of this repository.
  deployer_events = ["push:refs/heads/main", "workflow_dispatch:refs/heads/main"]

  accounts = { for name, account in google_service_account.workflow : name => "serviceAccount:${account.account_id}@${account.project}.iam.gserviceaccount.com" }
}

resource "google_project_service" "api" {
  for_each = toset(["cloudresourcemanager", "iam", "iamcredentials", "sts"])

  project            = var.project_id
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

# Its random id is a part of the pool's name. A deleted pool blocks its name for 30 days.
resource "terraform_data" "pool" {}

resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project_id
  workload_identity_pool_id = "github-${substr(terraform_data.pool.id, 0, 8)}"
  display_name              = "GitHub Actions"

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  # checkov:skip=CKV_GCP_125: The condition names the repository. The grants below compare the event and the branch, because the subject differs for each event.
  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }

  attribute_mapping = {
    "google.subject"  = "assertion.sub"
    "attribute.event" = "assertion.event_name"
    "attribute.run"   = "assertion.event_name + ':' + assertion.ref"
  }

  # GitHub issues tokens to all repositories of the world. Only those of this one count. A run that may deploy must name the
  # environment, so that GitHub applies the environment's rules, such as an approval.
  attribute_condition = join(" && ", compact([
    "assertion.repository == '${var.repository}'",
    var.repository_id == null ? "" : "assertion.repository_id == '${var.repository_id}'",
    "(assertion.event_name == 'pull_request' || (has(assertion.environment) && assertion.environment == 'production'))",
  ]))
}

resource "google_service_account" "workflow" {
  for_each = { deploy = "Deploys from GitHub Actions", plan = "Plans for pull requests on GitHub" }

  project      = var.project_id
  account_id   = "github-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.api]
}

resource "google_service_account_iam_member" "deploy" {
  for_each = toset(local.deployer_events)

  service_account_id = google_service_account.workflow["deploy"].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.run/${each.key}"
}

resource "google_service_account_iam_member" "plan" {
  service_account_id = google_service_account.workflow["plan"].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.event/pull_request"
}

resource "google_project_iam_member" "deployer" {
  # checkov:skip=CKV_GCP_41: Cloud Run and Cloud Scheduler run as accounts that do not exist before the deployment, so no grant can name them.
  # checkov:skip=CKV_GCP_49: A deployment creates those accounts and grants their roles.
  for_each = toset(local.deployer_roles)

  project = var.project_id
  role    = "roles/${each.key}"
  member  = local.accounts["deploy"]

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "grants" {
  project = var.project_id
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = local.accounts["deploy"]

  condition {
    title      = "roles of the services only"
    expression = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([${join(", ", [for role in local.granted_roles : "'${role}'"])}])"
  }

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "planner" {
  for_each = toset(local.planner_roles)

  project = var.project_id
  role    = "roles/${each.key}"
  member  = local.accounts["plan"]

  depends_on = [google_project_service.api]
}

# The state holds no secrets: their values are write-only.
resource "google_storage_bucket_iam_member" "planner_reads_state" {
  bucket = var.state_bucket
  role   = "roles/storage.objectViewer"
  member = local.accounts["plan"]
}

# It may be in another project, where the roles above do not count. A deployment reads the bucket itself, too.
resource "google_storage_bucket_iam_member" "deployer_writes_state" {
  for_each = toset(["objectAdmin", "legacyBucketReader"])

  bucket = var.state_bucket
  role   = "roles/storage.${each.key}"
  member = local.accounts["deploy"]
}

# A run for another repository, or without a variable of the last run, would take access away in silence. scripts/github
# compares.
output "settings" {
  description = "The variables of the last run."
  value = {
    domain        = var.domain
    repository    = var.repository
    repository_id = var.repository_id
    state_bucket  = var.state_bucket
  }
}

output "provider" {
  description = "For the variable GCP_WORKLOAD_IDENTITY_PROVIDER of the repository."
  value       = google_iam_workload_identity_pool_provider.github.name
}

output "accounts" {
  description = "The service accounts that the workflows act as."
  value       = { for name, member in local.accounts : name => trimprefix(member, "serviceAccount:") }
}
