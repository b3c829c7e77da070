# Other catalogs: a new system needs no change in Terraform, and an invalid catalog stops the plan.

mock_provider "google" {
  source          = "./tests/mocks/google"
  override_during = plan
}

mock_provider "google-beta" {
  source          = "./tests/mocks/google-beta"
  override_during = plan
}

variables {
  project_id   = "demo-project"
  image        = "us-central1-docker.pkg.dev/demo-project/functions/functions:1"
  catalog_file = "tests/fixtures/two-systems.json"
  mail         = "local"
  payments     = "local"
}

run "deploys_all_systems_by_default" {
  command = plan

  assert {
    condition     = toset(keys(google_cloud_run_v2_service.service)) == toset(["a-service-with-a-rather-long-name", "crm-service", "log-service", "order-api", "order-service", "user-service"])
    error_message = "by default, not every service is deployed"
  }
  assert {
    condition     = toset(keys(google_pubsub_topic.events)) == toset(["log-events", "shop-events", "user-events"])
    error_message = "the topics are not exactly the ones that services use"
  }
  assert {
    condition     = toset(keys(google_pubsub_topic_iam_member.publisher)) == toset(["a-service-with-a-rather-long-name/log-events", "order-api/log-events", "order-api/shop-events", "order-service/shop-events", "user-service/user-events"])
    error_message = "the grants to publish differ from the catalog"
  }
  assert {
    condition     = length([for name, push in google_pubsub_subscription.push : name if local.subscriptions[name].service == "order-service"]) == 2 && contains(keys(google_pubsub_subscription.holder), "order-service-dead-letter")
    error_message = "two subscriptions of a service do not share its dead-letter topic"
  }
  assert {
    condition     = toset(keys(google_monitoring_dashboard.system)) == toset(["shop", "signup"])
    error_message = "there is not exactly one dashboard per system"
  }
  assert {
    condition     = toset(keys(google_firestore_index.query)) == toset(["orders/userId,id"])
    error_message = "the composite indexes are not exactly the indexes of two or more fields"
  }
  assert {
    condition     = alltrue([for account in concat(values(google_service_account.service), values(google_service_account.delivery)) : length(account.account_id) >= 6 && length(account.account_id) <= 30])
    error_message = "the id of a service account does not have 6 to 30 characters"
  }
  assert {
    condition     = length(distinct([for account in concat(values(google_service_account.service), values(google_service_account.delivery)) : account.account_id])) == length(google_service_account.service) + length(google_service_account.delivery)
    error_message = "two service accounts share an id"
  }
}

run "a_service_that_delays_events_has_a_queue" {
  command = plan

  assert {
    condition     = keys(google_cloud_tasks_queue.timers) == ["order-service"]
    error_message = "there is not exactly one queue for each service that delays events"
  }
  assert {
    condition     = google_cloud_tasks_queue.timers["order-service"].retry_config[0].max_attempts == -1 && google_cloud_tasks_queue.timers["order-service"].retry_config[0].max_retry_duration == "0s"
    error_message = "Cloud Tasks would delete a timer that it cannot publish"
  }
  assert {
    condition     = toset([for grant in google_cloud_tasks_queue_iam_member.timers : "${grant.member} ${grant.role}"]) == toset(["${local.service_members["order-service"]} roles/cloudtasks.enqueuer", "${local.service_members["order-service"]} roles/cloudtasks.taskDeleter"])
    error_message = "the grants on the queue are not exactly to set and to cancel timers"
  }
  assert {
    condition     = keys(google_service_account_iam_member.timers_act) == ["order-service"] && google_service_account_iam_member.timers_act["order-service"].member == local.service_members["order-service"]
    error_message = "the service may not act as its own account, or another one may"
  }
  assert {
    condition     = local.environment["order-service"].TIMER_SERVICE_ACCOUNT == local.service_emails["order-service"] && contains(keys(local.environment["order-service"]), "TIMER_QUEUE") && !contains(keys(local.environment["log-service"]), "TIMER_QUEUE")
    error_message = "the services do not know their queues"
  }
  # The agents act for the services: they pull the image, sign tokens and start tasks.
  assert {
    condition     = toset(keys(google_project_service_identity.agent)) == toset(["cloudscheduler", "cloudtasks", "run"])
    error_message = "an agent of Google does not exist before it is needed"
  }
  # Without this API in the project, Google refuses the calls that make the agents.
  assert {
    condition     = contains(keys(google_project_service.api), "serviceusage")
    error_message = "the API that makes the agents is not enabled"
  }
  # A service that is removed and deployed again gets a queue with another name.
  assert {
    condition     = keys(terraform_data.timers) == ["order-service"]
    error_message = "the suffix of a queue outlives the queue, and its name is blocked"
  }
  assert {
    condition     = contains(keys(google_project_service.api), "cloudtasks") && length(google_monitoring_alert_policy.timers) == 1
    error_message = "the API or the alert is missing"
  }
}

run "deploys_only_the_selected_systems" {
  command = plan

  variables {
    systems = ["signup"]
  }

  assert {
    condition     = toset(keys(google_cloud_run_v2_service.service)) == toset(["crm-service", "user-service"])
    error_message = "systems does not select the services"
  }
  assert {
    condition     = toset(keys(google_pubsub_topic.events)) == toset(["user-events"]) && toset(keys(google_pubsub_subscription.push)) == toset(["crm-service-user-events"]) && length(google_secret_manager_secret.secret) == 0
    error_message = "systems does not select the topics, subscriptions and secrets"
  }
  assert {
    condition     = toset(keys(google_monitoring_dashboard.system)) == toset(["signup"])
    error_message = "systems does not select the dashboards"
  }
  assert {
    condition     = length(google_cloud_tasks_queue.timers) == 0 && !contains(keys(google_project_service.api), "cloudtasks") && length(google_monitoring_alert_policy.timers) == 0
    error_message = "there are queues without timers"
  }
}

run "rejects_a_handler_as_long_as_the_lease" {
  command = plan
  plan_options {
    target = [terraform_data.catalog]
  }
  variables {
    catalog_file = "tests/fixtures/slow-handler.json"
  }
  expect_failures = [terraform_data.catalog]
}

run "rejects_a_lease_as_long_as_the_ack_deadline" {
  command = plan
  plan_options {
    target = [terraform_data.catalog]
  }
  variables {
    catalog_file = "tests/fixtures/long-lease.json"
  }
  expect_failures = [terraform_data.catalog]
}

run "rejects_a_request_timeout_below_the_ack_deadline" {
  command = plan
  plan_options {
    target = [terraform_data.catalog]
  }
  variables {
    catalog_file = "tests/fixtures/short-request.json"
  }
  expect_failures = [terraform_data.catalog]
}

run "rejects_receipts_that_expire_too_early" {
  command = plan
  plan_options {
    target = [terraform_data.catalog]
  }
  variables {
    catalog_file = "tests/fixtures/forgetful-receipts.json"
  }
  expect_failures = [terraform_data.catalog]
}

run "rejects_a_shared_dead_letter_topic" {
  command = plan
  plan_options {
    target = [terraform_data.catalog]
  }
  variables {
    catalog_file = "tests/fixtures/shared-dead-letters.json"
  }
  expect_failures = [terraform_data.catalog]
}
