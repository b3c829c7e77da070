# One Cloud Run service per service of the catalog, all from the same image.

# What a service may do. It may not call another one.
resource "google_service_account" "service" {
  for_each = local.services

  project      = var.project_id
  account_id   = local.account_ids[each.key]
  display_name = "${local.prefix}${each.key}"
  description  = each.value.about

  depends_on = [google_project_service.api]
}

# Who may deliver to a service. One identity serves its pushes and its relay job, as a public service
# verifies exactly one.
resource "google_service_account" "delivery" {
  for_each = local.services

  project      = var.project_id
  account_id   = local.account_ids["${each.key}-push"]
  display_name = "Delivers to ${local.prefix}${each.key}"

  depends_on = [google_project_service.api]
}

locals {
  # The addresses are put together instead of read from `.email`, so that a plan shows who is granted
  # what, before the accounts exist.
  service_emails   = { for name, account in google_service_account.service : name => "${account.account_id}@${account.project}.iam.gserviceaccount.com" }
  service_members  = { for name, email in local.service_emails : name => "serviceAccount:${email}" }
  delivery_emails  = { for name, account in google_service_account.delivery : name => "${account.account_id}@${account.project}.iam.gserviceaccount.com" }
  delivery_members = { for name, email in local.delivery_emails : name => "serviceAccount:${email}" }

  # For whom a token is. A service cannot know its URL before it exists, so it is told this name instead.
  # It differs per service, region and project: a token for one is no good at another. In lower case,
  # as Pub/Sub does not keep the case of an audience.
  audiences = { for name in keys(local.services) : name => "${local.prefix}${name}.${var.region}.${var.project_id}" }

  # Private: Cloud Run checks the token before the service sees it, and then removes its signature, so
  # that the service could not check it again. Public: Cloud Run lets everyone pass, so the service checks.
  push_auth = { for name, service in local.services : name => service.public ? "oidc" : "iam" }

  environment = {
    for name in keys(local.services) : name => merge(
      lookup(var.environment, name, {}),
      {
        GOOGLE_CLOUD_PROJECT = var.project_id
        FIRESTORE_DATABASE   = local.database
        PUSH_AUTH            = local.push_auth[name]
        PUSH_AUDIENCE        = local.audiences[name]
        PUSH_SERVICE_ACCOUNT = local.delivery_emails[name]
      },
      # Cloud Run drops a variable with an empty value.
      local.prefix == "" ? {} : { NAMES_PREFIX = local.prefix },
    )
  }
}

resource "google_cloud_run_v2_service" "service" {
  for_each = local.services

  project     = var.project_id
  location    = var.region
  name        = "${local.prefix}${each.key}"
  description = each.value.about

  # Pub/Sub and Cloud Scheduler of the same project count as internal at the default URL.
  ingress = each.value.public ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_ONLY"

  # Cloud Run itself accepts this audience where it checks the token. A public service must not have it:
  # there the token has to arrive as it is, signature included.
  custom_audiences = each.value.public ? null : [local.audiences[each.key]]

  # Nothing is lost with a service: its documents and events are elsewhere.
  deletion_protection = false

  template {
    service_account                  = local.service_emails[each.key]
    timeout                          = "${local.timing.requestTimeoutSeconds}s"
    max_instance_request_concurrency = var.concurrency

    scaling {
      min_instance_count = lookup(var.min_instances, each.key, 0)
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image
      args  = ["serve", each.key]

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = var.cpu, memory = var.memory }
        cpu_idle          = true # paid per request, not per instance
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = local.environment[each.key]
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = { for use in local.secret_uses : use.env => use.secret if use.service == each.key && contains(local.filled_secrets, use.secret) }
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret = google_secret_manager_secret.secret[env.value].secret_id
              # A known version, so that a new value makes a new revision, which has to start before it serves.
              version = contains(local.given_secrets, env.value) ? google_secret_manager_secret_version.value[env.value].version : "latest"
            }
          }
        }
      }

      # Probes come from inside. From outside, Google's front end answers /healthz itself, with 404.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 30
        http_get {
          path = "/healthz"
          port = 8080
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/healthz"
          port = 8080
        }
      }
    }
  }

  # A revision without access to its secrets or documents would fail its start or its first delivery.
  depends_on = [
    google_firestore_database.documents,
    google_project_iam_member.documents,
    google_pubsub_topic_iam_member.publisher,
    google_pubsub_topic_iam_member.rejecter,
    google_secret_manager_secret_iam_member.reader,
  ]
}

# Documents of this copy's database. Firestore has no grants below a database, so what keeps a service
# out of another one's documents is the code.
resource "google_project_iam_member" "documents" {
  for_each = local.services

  project = var.project_id
  role    = "roles/datastore.user"
  member  = local.service_members[each.key]

  condition {
    title      = "${local.prefix}documents"
    expression = "resource.name == \"projects/${var.project_id}/databases/${local.database}\""
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_run_v2_service_iam_member" "delivery" {
  for_each = local.services

  project  = var.project_id
  location = google_cloud_run_v2_service.service[each.key].location
  name     = google_cloud_run_v2_service.service[each.key].name
  role     = "roles/run.invoker"
  member   = local.delivery_members[each.key]
}

resource "google_cloud_run_v2_service_iam_member" "everyone" {
  # The catalog says which services are public; tests/access.tftest.hcl, that no other is.
  for_each = { for name, service in local.services : name => service if service.public }

  project  = var.project_id
  location = google_cloud_run_v2_service.service[each.key].location
  name     = google_cloud_run_v2_service.service[each.key].name
  role     = "roles/run.invoker"
  member   = "allUsers"
}
