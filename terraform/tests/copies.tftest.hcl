# Two copies in one project, the environment of a service, outputs, monitoring, and protection of data.

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
  mail       = "local"
  payments   = "local"

  secrets_present = ["auth-jwks", "auth-signing-key"]
}

run "without_prefix" {
  command = plan

  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.name == name])
    error_message = "without a prefix, a service does not have its name in the catalog"
  }
  assert {
    condition     = google_firestore_database.documents.name == "(default)"
    error_message = "without a prefix, the documents are not in the default database, which has the free quota"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.template[0].containers[0].args == tolist(["serve", name])])
    error_message = "a container does not start its own service"
  }
  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.service :
      service.template[0].containers[0].startup_probe[0].http_get[0].path == "/healthz" && service.template[0].containers[0].liveness_probe[0].http_get[0].path == "/healthz"
    ])
    error_message = "a service has no probe of /healthz"
  }
  assert {
    condition = { for env in google_cloud_run_v2_service.service["user-service"].template[0].containers[0].env : env.name => env.value } == {
      FIRESTORE_DATABASE   = "(default)"
      GOOGLE_CLOUD_PROJECT = "demo-project"
      PUSH_AUDIENCE        = "user-service.us-central1.demo-project"
      PUSH_AUTH            = "oidc"
      PUSH_SERVICE_ACCOUNT = "user-service-push@demo-project.iam.gserviceaccount.com"
    }
    error_message = "the environment of a service is wrong"
  }

  # Every service has an output
  assert {
    condition     = toset(keys(output.urls)) == toset(local.catalog.services[*].name)
    error_message = "the output urls does not have exactly the services of the catalog"
  }
  # The name of an output cannot be computed, so `functions catalog --write` writes this file from the catalog.
  assert {
    condition = (
      { for name, content in jsondecode(file("service_urls.tf.json")).output : name => content.value }
      == { for service in local.catalog.services : "${replace(service.name, "-", "_")}_url" => "$${lookup(local.urls, \"${service.name}\", null)}" }
    )
    error_message = "service_urls.tf.json differs from the catalog. It needs exactly one output <service>_url for each of ${join(", ", local.catalog.services[*].name)}"
  }
  assert {
    condition     = output.user_service_url == "https://service.run.app"
    error_message = "the output user_service_url is not the URL of user-service"
  }

  # Protects data by default
  assert {
    condition     = google_firestore_database.documents.delete_protection_state == "DELETE_PROTECTION_ENABLED" && google_firestore_database.documents.deletion_policy == "ABANDON"
    error_message = "by default, terraform destroy deletes the documents"
  }

  # Images of services that were deployed long ago, because others were deployed with --only
  assert {
    condition     = [for policy in google_artifact_registry_repository.images.cleanup_policies : policy.condition[0].older_than if policy.id == "delete-old"] == ["7776000s"]
    error_message = "the registry does not keep an image for 90 days, as the README says"
  }
}

run "with_prefix" {
  command = plan

  variables {
    names_prefix = "staging-"
    operators    = ["user:ada@example.com"]
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
          trimprefix(google_storage_bucket.build.name, "demo-project_"),
          google_logging_metric.deliveries.name,
          google_logging_metric.delivery_milliseconds.name,
        ],
        values(output.push)[*].audience,
      ) : startswith(name, "staging-")
    ])
    error_message = "a name has no prefix, so two copies would share it"
  }
  assert {
    condition = { for env in google_cloud_run_v2_service.service["email-service"].template[0].containers[0].env : env.name => env.value } == {
      FIRESTORE_DATABASE   = "staging-data"
      GOOGLE_CLOUD_PROJECT = "demo-project"
      MAIL                 = "local"
      MAIL_FROM            = "us@example.com"
      NAMES_PREFIX         = "staging-"
      PUSH_AUDIENCE        = "staging-email-service.us-central1.demo-project"
      PUSH_AUTH            = "iam"
      PUSH_SERVICE_ACCOUNT = "staging-email-service-push@demo-project.iam.gserviceaccount.com"
    }
    error_message = "the environment of a service of a copy is wrong"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.template[0].containers[0].args[1] == name])
    error_message = "a container starts its service under a name with a prefix"
  }
  # A grant on the project that two copies share would be lost by one with the removal of the other. The members of the
  # others have names with the prefix.
  assert {
    condition = alltrue([
      for grant in concat(values(google_project_iam_member.operator_reads), values(google_project_iam_member.operator_monitors), values(google_project_iam_member.documents)) :
      try(startswith(grant.condition[0].title, "staging-"), false)
    ]) && length(google_project_iam_member.operator_monitors) == 1
    error_message = "two copies share a grant of an operator"
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.documents : endswith(grant.condition[0].expression, "/databases/staging-data\"")])
    error_message = "a copy may use the documents of another copy"
  }
  assert {
    condition = alltrue([
      for policy in concat(values(google_monitoring_alert_policy.uptime), values(google_monitoring_alert_policy.budget_burn)) :
      strcontains(policy.documentation[0].content, "    TF_VAR_names_prefix=staging- scripts/deploy demo-project --rollback\n")
    ])
    error_message = "an alert of a copy tells the reader to roll back another copy"
  }
  assert {
    condition = alltrue([
      for name, queue in google_cloud_tasks_queue.timers : alltrue([
        for setting in concat(
          ["functions timers reconcile ${name}", "GOOGLE_CLOUD_PROJECT=demo-project"],
          [for env in google_cloud_run_v2_service.service[name].template[0].containers[0].env : "${env.name}=${env.value}" if contains(["NAMES_PREFIX", "FIRESTORE_DATABASE", "TIMER_QUEUE", "TIMER_SERVICE_ACCOUNT"], env.name)],
        ) : strcontains(google_monitoring_alert_policy.timers[0].documentation[0].content, setting)
      ])
    ])
    error_message = "the alert for timers lacks a part of the environment of functions timers reconcile"
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
    error_message = "the alert for dead letters does not watch every holder"
  }
  assert {
    condition = alltrue([
      for outcome in ["handled", "duplicate", "ignored", "retry", "reject", "panic"] : alltrue([
        for metric in [google_logging_metric.deliveries, google_logging_metric.delivery_milliseconds] :
        strcontains(metric.filter, "\"${outcome}\"")
      ])
    ])
    error_message = "the metrics of deliveries omit an outcome"
  }
  assert {
    condition = alltrue([
      for push in google_pubsub_subscription.push :
      strcontains(google_monitoring_alert_policy.backlog[0].conditions[0].condition_threshold[0].filter, "\"${push.name}\"")
    ])
    error_message = "the alert for the backlog does not watch every subscription"
  }
  assert {
    condition = alltrue([
      for policy in concat(values(google_monitoring_alert_policy.uptime), values(google_monitoring_alert_policy.budget_burn)) :
      strcontains(policy.documentation[0].content, "\n    scripts/deploy demo-project --rollback\n")
    ])
    error_message = "an alert does not name the command that returns to the revision before"
  }
  assert {
    condition     = google_monitoring_alert_policy.dead_letters[0].conditions[0].condition_threshold[0].threshold_value == 0
    error_message = "the alert does not fire at the first dead letter"
  }
  # An alert that is open sends no mail about further dead letters.
  assert {
    condition = [
      for strategy in google_monitoring_alert_policy.dead_letters[0].alert_strategy[*].notification_channel_strategy[0] :
      "${strategy.renotify_interval} ${join(" ", strategy.notification_channel_names)}"
    ] == ["86400s projects/demo-project/notificationChannels/1"]
    error_message = "nobody is reminded of dead letters that wait"
  }
  assert {
    condition = alltrue([
      for command in ["groups", "list --group GROUP", "show LETTER", "replay --group GROUP", "drop --group GROUP"] :
      strcontains(google_monitoring_alert_policy.dead_letters[0].documentation[0].content, "functions dead-letters --project ${var.project_id} ${command}\n")
    ])
    error_message = "the alert for dead letters does not name the commands that repair them"
  }
  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.dead_letters[0], google_monitoring_alert_policy.backlog[0], google_monitoring_alert_policy.errors] :
      policy.notification_channels == tolist(["projects/demo-project/notificationChannels/1"])
    ])
    error_message = "an alert does not notify the e-mail channel"
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
    error_message = "a service does not have its row of charts"
  }
  # Google leaves zeros out of its answer, so each plan would show a change.
  assert {
    condition     = alltrue([for dashboard in google_monitoring_dashboard.system : length(regexall("\"[xy]Pos\":0", dashboard.dashboard_json)) == 0])
    error_message = "a chart has a position of zero"
  }
}
