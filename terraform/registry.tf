# The registry of the image, and the identity and the bucket of its builds

resource "google_artifact_registry_repository" "images" {
  # checkov:skip=CKV_GCP_84: Google's own keys encrypt the images, which contain no data. A customer key costs money and can be lost.
  project       = var.project_id
  location      = var.region
  repository_id = "${local.prefix}functions"
  description   = "Images of the functions"
  format        = "DOCKER"

  # The free tier ends at 0.5 GB. Old images are deleted. The newest five stay for rollbacks.
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count            = 5
      package_name_prefixes = ["functions"]
    }
  }
  # A service can keep an older one, after deployments of other services with --only. scripts/deploy tags the images in use.
  cleanup_policies {
    id     = "keep-used"
    action = "KEEP"
    condition {
      tag_state             = "TAGGED"
      tag_prefixes          = ["in-use-"]
      package_name_prefixes = ["functions"]
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "7776000s"
    }
  }
  # The compiled dependencies of the last build. scripts/deploy replaces them when they change.
  cleanup_policies {
    id     = "delete-old-cache"
    action = "DELETE"
    condition {
      tag_state             = "UNTAGGED"
      older_than            = "86400s"
      package_name_prefixes = ["cache"]
    }
  }

  depends_on = [google_project_service.api]
}

# Builds have their own identity. The default identity may do nothing in new organizations, and nearly
# everything in others.
resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = "${local.prefix}functions-build"
  display_name = "Builds the image"

  depends_on = [google_project_service.api]
}

locals {
  # The address is built here, and not read from `.email`. So a plan shows the members of all grants
  # before the account exists.
  build_member = "serviceAccount:${google_service_account.build.account_id}@${google_service_account.build.project}.iam.gserviceaccount.com"
}

resource "google_storage_bucket" "build" {
  # checkov:skip=CKV_GCP_62: The bucket holds uploaded sources for a week. A log of the reads is not needed.
  # checkov:skip=CKV_GCP_78: The sources are in git. Old uploads are deleted and need no versions.
  # Bucket names are global. No project id contains an underscore, so "acme" with the prefix "staging-" and
  # "acme-staging" have different buckets.
  project                     = var.project_id
  name                        = "${var.project_id}_${local.prefix}functions-build"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 7
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "build_reads_sources" {
  bucket = google_storage_bucket.build.name
  role   = "roles/storage.objectViewer"
  member = local.build_member
}

resource "google_artifact_registry_repository_iam_member" "build_pushes" {
  project    = var.project_id
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = local.build_member
}

resource "google_project_iam_member" "build_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = local.build_member

  depends_on = [google_project_service.api]
}
