# Two copies in one project, what a service is told, and what comes out.

mock_provider "google" {
  source          = "./tests/mocks/google"
  override_during = plan
}

mock_provider "google-beta" {
  source          = "./tests/mocks/google-beta"
  override_during = plan
}

variables {
  project_id = "demo-project"
  image      = "us-central1-docker.pkg.dev/demo-project/functions/functions:1"
}

run "without_prefix" {
  command = plan

  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.name == name])
    error_message = "without a prefix, services are named as in the catalog"
  }
  assert {
    condition     = google_firestore_database.documents.name == "(default)"
    error_message = "without a prefix, the documents are in the database with the free quota"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.template[0].containers[0].args == tolist(["serve", name])])
    error_message = "a container does not serve its service"
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.service :
      service.template[0].containers[0].startup_probe[0].http_get[0].path == "/healthz" && service.template[0].containers[0].liveness_probe[0].http_get[0].path == "/healthz"
    ])
    error_message = "a service is not probed"
  }
  assert {
    condition = { for env in google_cloud_run_v2_service.service["user-service"].template[0].containers[0].env : env.name => env.value } == {
      FIRESTORE_DATABASE   = "(default)"
      GOOGLE_CLOUD_PROJECT = "demo-project"
      PUSH_AUDIENCE        = "user-service.us-central1.demo-project"
      PUSH_AUTH            = "oidc"
      PUSH_SERVICE_ACCOUNT = "user-service-push@demo-project.iam.gserviceaccount.com"
    }
    error_message = "a service is not told what it needs"
  }
}

run "with_prefix" {
  command = plan

  variables {
    names_prefix = "staging-"
    environment  = { email-service = { MAIL_FROM = "us@example.com" } }
  }

  assert {
    condition = alltrue([
      for name in concat(
        values(google_cloud_run_v2_service.service)[*].name,
        values(google_pubsub_topic.events)[*].name,
        values(google_pubsub_topic.dead_letters)[*].name,
        values(google_pubsub_subscription.push)[*].name,
        values(google_pubsub_subscription.holder)[*].name,
        values(google_service_account.service)[*].account_id,
        values(google_service_account.delivery)[*].account_id,
        values(google_secret_manager_secret.secret)[*].secret_id,
        values(google_cloud_scheduler_job.relay)[*].name,
        [
          google_firestore_database.documents.name,
          google_artifact_registry_repository.images.repository_id,
          google_service_account.build.account_id,
          trimprefix(google_storage_bucket.build.name, "demo-project-"),
          google_logging_metric.deliveries.name,
          google_logging_metric.delivery_milliseconds.name,
        ],
        values(output.push)[*].audience,
      ) : startswith(name, "staging-")
    ])
    error_message = "a name lacks the prefix, so that two copies would share it"
  }
  assert {
    condition = { for env in google_cloud_run_v2_service.service["email-service"].template[0].containers[0].env : env.name => env.value } == {
      FIRESTORE_DATABASE   = "staging-data"
      GOOGLE_CLOUD_PROJECT = "demo-project"
      MAIL_FROM            = "us@example.com"
      NAMES_PREFIX         = "staging-"
      PUSH_AUDIENCE        = "staging-email-service.us-central1.demo-project"
      PUSH_AUTH            = "iam"
      PUSH_SERVICE_ACCOUNT = "staging-email-service-push@demo-project.iam.gserviceaccount.com"
    }
    error_message = "a service of a copy is not told what it needs"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.template[0].containers[0].args[1] == name])
    error_message = "the binary knows services by their catalog names, without prefix"
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.documents : endswith(grant.condition[0].expression, "/databases/staging-data\"")])
    error_message = "a copy may use another copy's documents"
  }
}

run "every_service_has_an_output" {
  command = plan

  assert {
    condition     = toset(keys(output.urls)) == toset(local.catalog.services[*].name)
    error_message = "the URL of a service is missing"
  }
  # Terraform has no outputs with computed names, so this file is written from the catalog.
  assert {
    condition = (
      { for name, content in jsondecode(file("service_urls.tf.json")).output : name => content.value }
      == { for service in local.catalog.services : "${replace(service.name, "-", "_")}_url" => "$${lookup(local.urls, \"${service.name}\", null)}" }
    )
    error_message = "service_urls.tf.json is not what the catalog asks for: exactly one output <service>_url for each of ${join(", ", local.catalog.services[*].name)}"
  }
  assert {
    condition     = output.user_service_url == "https://service.run.app"
    error_message = "terraform output -raw user_service_url does not work"
  }
}

run "monitoring" {
  command = plan

  variables {
    notification_email = "on-call@example.com"
  }

  assert {
    condition = alltrue([
      for holder in google_pubsub_subscription.holder :
      strcontains(google_monitoring_alert_policy.dead_letters[0].conditions[0].condition_threshold[0].filter, "\"${holder.name}\"")
    ])
    error_message = "nobody hears of some dead letters"
  }
  assert {
    condition = alltrue([
      for push in google_pubsub_subscription.push :
      strcontains(google_monitoring_alert_policy.backlog[0].conditions[0].condition_threshold[0].filter, "\"${push.name}\"")
    ])
    error_message = "nobody hears of some backlog"
  }
  assert {
    condition     = google_monitoring_alert_policy.dead_letters[0].conditions[0].condition_threshold[0].threshold_value == 0
    error_message = "the first dead letter is one that somebody must hear of"
  }
  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.dead_letters[0], google_monitoring_alert_policy.backlog[0], google_monitoring_alert_policy.errors] :
      policy.notification_channels == tolist(["projects/demo-project/notificationChannels/1"])
    ])
    error_message = "an alert tells nobody"
  }
  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.dead_letters[0], google_monitoring_alert_policy.backlog[0], google_monitoring_alert_policy.errors] :
      length(policy.conditions[0].condition_threshold[0].filter) <= 2048
    ])
    error_message = "a filter is longer than the monitoring API allows"
  }
  assert {
    condition = alltrue([
      for service in local.catalog.services :
      length([for tile in jsondecode(google_monitoring_dashboard.system[service.system].dashboard_json).mosaicLayout.tiles : tile if startswith(tile.widget.title, "${service.name}:")])
      == (length(service.subscriptions) > 0 ? 5 : 2)
    ])
    error_message = "a service lacks its row of charts"
  }
}

run "data_is_protected" {
  command = plan

  assert {
    condition     = google_firestore_database.documents.delete_protection_state == "DELETE_PROTECTION_ENABLED" && google_firestore_database.documents.deletion_policy == "ABANDON"
    error_message = "by default, terraform destroy must leave the documents alone"
  }
}
