locals {
  apis = toset(concat(length(local.timer_services) > 0 ? ["cloudtasks"] : [], [
    "artifactregistry",
    "cloudbuild",
    "cloudresourcemanager", # grants on the project
    "cloudscheduler",
    "firestore",
    "iam",
    "iamcredentials", # the tokens of pushes
    "logging",
    "monitoring",
    "pubsub",
    "run",
    "secretmanager",
    "serviceusage", # the calls of google-beta
    "storage",
  ]))
}

resource "google_project_service" "api" {
  for_each = local.apis

  project = var.project_id
  service = "${each.key}.googleapis.com"

  # Other software in the project may use the same API.
  disable_on_destroy = false
}

# Pub/Sub acts through its service agent, and this resource creates it. Without the agent, the grants of
# the first apply in a new project fail with "service account does not exist".
resource "google_project_service_identity" "pubsub" {
  provider = google-beta

  project = var.project_id
  service = google_project_service.api["pubsub"].service

  # The calls of this provider need serviceusage.
  depends_on = [google_project_service.api]
}

# The same for the agents that pull the image, sign the tokens of relay jobs, and start tasks.
resource "google_project_service_identity" "agent" {
  for_each = setintersection(local.apis, ["cloudscheduler", "cloudtasks", "run"])
  provider = google-beta

  project = var.project_id
  service = google_project_service.api[each.key].service

  depends_on = [google_project_service.api]
}
