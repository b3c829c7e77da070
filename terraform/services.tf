# One Cloud Run service for each service of the catalog, all from the same image

# The identity that a service runs as. It may not call other services.
resource "google_service_account" "service" {
  for_each = local.services

  project      = var.project_id
  account_id   = local.account_ids[each.key]
  display_name = "${local.prefix}${each.key}"
  description  = each.value.about

  depends_on = [google_project_service.api]
}

# The delivery identity of a service. Its pushes and its relay job share one identity, because a public
# service accepts exactly one.
resource "google_service_account" "delivery" {
  for_each = local.services

  project      = var.project_id
  account_id   = local.account_ids["${each.key}-push"]
  display_name = "Delivers to ${local.prefix}${each.key}"

  depends_on = [google_project_service.api]
}

locals {
  # The addresses are built here, and not read from `.email`. So a plan shows the members of all grants
  # before the accounts exist.
  service_emails   = { for name, account in google_service_account.service : name => "${account.account_id}@${account.project}.iam.gserviceaccount.com" }
  service_members  = { for name, email in local.service_emails : name => "serviceAccount:${email}" }
  delivery_emails  = { for name, account in google_service_account.delivery : name => "${account.account_id}@${account.project}.iam.gserviceaccount.com" }
  delivery_members = { for name, email in local.delivery_emails : name => "serviceAccount:${email}" }

  # The audiences of tokens. A service cannot know its URL before it exists, so it gets this name instead.
  # The name differs by service, region and project, so no service accepts a token for another one. It is
  # in lower case, because Pub/Sub does not keep the case of an audience.
  audiences = { for name in keys(local.services) : name => "${local.prefix}${name}.${var.region}.${var.project_id}" }

  # Private: Cloud Run checks the token and removes its signature, so the service only compares the account in it.
  # Public: Cloud Run admits everyone, so the service checks the token.
  push_auth = { for name, service in local.services : name => service.public ? "oidc" : "iam" }

  # The private services with routes, if somebody may call them
  operated = length(var.operators) == 0 ? [] : [for name, service in local.services : name if service.forOperators]

  environment = {
    for name, service in local.services : name => merge(
      lookup(var.environment, name, {}),
      {
        GOOGLE_CLOUD_PROJECT = var.project_id
        FIRESTORE_DATABASE   = local.database
        PUSH_AUTH            = local.push_auth[name]
        PUSH_AUDIENCE        = local.audiences[name]
        PUSH_SERVICE_ACCOUNT = local.delivery_emails[name]
      },
      local.stand_in_choices[name],
      contains(keys(local.timer_services), name) ? {
        TIMER_QUEUE           = google_cloud_tasks_queue.timers[name].id
        TIMER_SERVICE_ACCOUNT = local.service_emails[name]
      } : {},
      # Like an audience, the issuer of access tokens is a name that is known before any URL is.
      try(service.signedIn, false) ? { AUTH_ISSUER = "${local.prefix}auth.${var.region}.${var.project_id}" } : {},
      # The load balancer of a domain appends its own address to X-Forwarded-For.
      service.public && var.domain != null ? { TRUSTED_PROXIES = "1" } : {},
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

  # At the default URL, Pub/Sub and Cloud Scheduler of the same project count as internal. An operator's computer does
  # not, so a service with operators accepts calls from the internet. Cloud Run still checks who calls. With a domain, a
  # public service accepts calls of the load balancer and internal ones: nobody gets around the load balancer.
  ingress = (
    each.value.public && var.domain != null ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    : each.value.public || contains(local.operated, each.key) ? "INGRESS_TRAFFIC_ALL"
    : "INGRESS_TRAFFIC_INTERNAL_ONLY"
  )

  # A public service admits everyone without a grant to allUsers, which newer organizations refuse (domain-restricted
  # sharing). The catalog declares the public services. tests/access.tftest.hcl checks that no other service is public.
  invoker_iam_disabled = each.value.public

  # Cloud Run accepts this audience when it checks the token of a private service. A public service must
  # not have it: it needs the token with its signature.
  custom_audiences = each.value.public ? null : [local.audiences[each.key]]

  # A deleted service loses no data: its documents and events are stored elsewhere.
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
      image = local.images[each.key]
      args  = ["serve", each.key]

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = var.cpu, memory = var.memory }
        cpu_idle          = true # request-based billing
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
        for_each = { for use in local.secret_uses : use.env => use.secret if use.service == each.key && contains(local.mounted_secrets, use.secret) }
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret = google_secret_manager_secret.secret[env.value].secret_id
              # With a fixed version, a new value creates a new revision, which must start before it serves.
              version = contains(local.given_secrets, env.value) ? google_secret_manager_secret_version.value[env.value].version : "latest"
            }
          }
        }
      }

      # Probes come from inside. For requests from outside, Google's front end answers /healthz with 404.
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

  # Declared even if the newest revision gets everything: without the blocks, the provider keeps a split that somebody
  # made by hand, and no later deployment would get traffic.
  dynamic "traffic" {
    for_each = local.traffic[each.key]
    content {
      type     = traffic.value.revision == null ? "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST" : "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
      revision = traffic.value.revision
      percent  = traffic.value.percent
    }
  }

  # Without access to its secrets or documents, a revision would fail at its start or at its first delivery. With a domain,
  # customers reach a public service only through the load balancer, so it closes its other URL when that exists.
  depends_on = [
    google_cloud_tasks_queue_iam_member.timers,
    google_compute_global_forwarding_rule.https,
    google_firestore_database.documents,
    google_project_iam_member.documents,
    google_project_service_identity.agent,
    google_pubsub_topic_iam_member.publisher,
    google_pubsub_topic_iam_member.rejecter,
    google_secret_manager_secret_iam_member.reader,
    google_service_account_iam_member.timers_act,
  ]
}

# Access to the database of this copy. Firestore has no grants below a database, so only the code keeps a
# service out of the documents of another one.
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

  # The name of a replaced service stays, so without this rule the grant of the old service would count as that of the new
  # one, and nothing could be delivered until the next deployment.
  lifecycle {
    replace_triggered_by = [google_cloud_run_v2_service.service[each.key].uid]
  }
}

locals {
  operator_calls = merge([
    for name in local.operated : { for operator in var.operators : "${name}/${operator}" => { service = name, operator = operator } }
  ]...)
}

# replace_triggered_by takes the key of the grant, but not that of the service.
resource "terraform_data" "operator_calls" {
  for_each = local.operator_calls
  input    = google_cloud_run_v2_service.service[each.value.service].uid
}

# Operators may read what a private service shows, such as contacts and mails, and stock the shop.
resource "google_cloud_run_v2_service_iam_member" "operator" {
  for_each = local.operator_calls

  project  = var.project_id
  location = google_cloud_run_v2_service.service[each.value.service].location
  name     = google_cloud_run_v2_service.service[each.value.service].name
  role     = "roles/run.invoker"
  member   = each.value.operator

  # As for the delivery above
  lifecycle {
    replace_triggered_by = [terraform_data.operator_calls[each.key]]
  }
}
