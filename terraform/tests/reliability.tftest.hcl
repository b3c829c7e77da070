# Alerts on relays and error budgets, uptime checks, the budget of the project, and backups.

mock_provider "google" {
  source          = "./tests/mocks/google"
  override_during = plan
}

mock_provider "google-beta" {
  source          = "./tests/mocks/google-beta"
  override_during = plan
}

variables {
  project_id         = "demo-project"
  image              = "us-central1-docker.pkg.dev/demo-project/functions/functions:1"
  mail               = "local"
  payments           = "local"
  notification_email = "on-call@example.com"

  secrets_present = ["auth-jwks", "auth-signing-key"]
}

run "alerts_and_uptime_checks" {
  command = plan

  # Every alert has a channel
  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.relays[*], values(google_monitoring_alert_policy.budget_burn), values(google_monitoring_alert_policy.uptime)) :
      policy.notification_channels == tolist(["projects/demo-project/notificationChannels/1"])
    ])
    error_message = "an alert does not notify the e-mail channel"
  }

  # Relays are watched
  assert {
    condition = alltrue([
      for job in google_cloud_scheduler_job.relay : alltrue([
        for filter in [
          google_monitoring_alert_policy.relays[0].conditions[0].condition_threshold[0].filter,
          google_monitoring_alert_policy.relays[0].conditions[1].condition_absent[0].filter,
        ] : strcontains(filter, "\"${job.name}\"")
      ])
    ])
    error_message = "the alert does not watch every relay job, for its failures and for its absence"
  }
  # An error that ends makes the series of errors absent. That is no problem.
  assert {
    condition     = endswith(google_monitoring_alert_policy.relays[0].conditions[0].condition_threshold[0].filter, "severity = \"ERROR\"") && endswith(google_monitoring_alert_policy.relays[0].conditions[1].condition_absent[0].filter, "severity = \"INFO\"")
    error_message = "the alert for failures does not count errors, or the alert for absence does"
  }
  assert {
    condition     = google_monitoring_alert_policy.relays[0].conditions[0].condition_threshold[0].threshold_value < 10
    error_message = "a job that runs each minute cannot fail that often within ten minutes"
  }

  # Error budgets of public services
  assert {
    condition     = toset(keys(google_monitoring_slo.availability)) == toset([for service in local.catalog.services : service.name if service.public])
    error_message = "the services with a goal are not exactly the public ones"
  }
  assert {
    condition = alltrue([
      for name, slo in google_monitoring_slo.availability :
      slo.request_based_sli[0].good_total_ratio[0].bad_service_filter == "${slo.request_based_sli[0].good_total_ratio[0].total_service_filter} AND metric.labels.response_code_class = \"5xx\""
      && strcontains(slo.request_based_sli[0].good_total_ratio[0].total_service_filter, "service_name = \"${name}\"")
    ])
    error_message = "a goal does not count the server errors of its service"
  }
  # Both windows must burn: the long one proves that it matters, the short one that it still goes on.
  assert {
    condition = {
      for name, policy in google_monitoring_alert_policy.budget_burn :
      name => join(" ", concat([policy.combiner], [for condition in policy.conditions : "${regex("\"([0-9]+s)\"", condition.condition_threshold[0].filter)[0]}>${condition.condition_threshold[0].threshold_value}"]))
      } == merge([
        for service in local.catalog.services : { "${service.name}/fast" = "AND 3600s>14.4 300s>14.4", "${service.name}/slow" = "AND 21600s>6 1800s>6" } if service.public
    ]...)
    error_message = "the alerts do not compare the burn rate over a long and a short window"
  }

  # Public routes are called
  assert {
    condition = { for name, check in google_monitoring_uptime_check_config.public : name => check.http_check[0].path } == {
      for service in local.catalog.services : service.name => replace(trimprefix([for route in service.routes : route if startswith(route, "GET ")][0], "GET "), "/{[^}]*}/", "uptime-check")
      if service.public && anytrue([for route in service.routes : startswith(route, "GET ")])
    }
    error_message = "the uptime checks do not call the first GET route of each public service"
  }
  assert {
    condition     = google_monitoring_uptime_check_config.public["user-service"].http_check[0].path == "/users/uptime-check"
    error_message = "the path of a route with a parameter has no id"
  }
  # A server error counts as an outage. So does the front end's 404, which is HTML.
  assert {
    condition = alltrue([
      for check in google_monitoring_uptime_check_config.public :
      check.http_check[0].accepted_response_status_codes[*].status_class == tolist(["STATUS_CLASS_2XX", "STATUS_CLASS_4XX"])
      && check.content_matchers[0].matcher == "MATCHES_REGEX"
      && can(regex(check.content_matchers[0].content, "{\"type\":\"about:blank\",\"status\":404}"))
      && can(regex(check.content_matchers[0].content, " [{}]"))
      && !can(regex(check.content_matchers[0].content, "<html><head><title>404 Page not found</title>"))
    ])
    error_message = "an uptime check takes a missing service for a sound one"
  }
  assert {
    condition     = alltrue([for check in google_monitoring_uptime_check_config.public : check.monitored_resource[0].labels["host"] == "service.run.app" && check.http_check[0].use_ssl && check.http_check[0].validate_ssl])
    error_message = "an uptime check does not call the URL of its service, or accepts any certificate"
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.uptime : strcontains(policy.conditions[0].condition_threshold[0].filter, "check_id = \"check\"")])
    error_message = "an alert does not watch its uptime check"
  }

  # Each condition of an alert costs money.
  assert {
    condition = strcontains(file("README.md"), " ${length(flatten([
      for policy in concat(
        google_monitoring_alert_policy.dead_letters[*],
        google_monitoring_alert_policy.backlog[*],
        [google_monitoring_alert_policy.errors],
        google_monitoring_alert_policy.relays[*],
        google_monitoring_alert_policy.timers[*],
        values(google_monitoring_alert_policy.budget_burn),
        values(google_monitoring_alert_policy.uptime),
      ) : policy.conditions
    ]))} for all systems")
    error_message = "the README does not have the number of conditions of all alerts"
  }

  # No budget and no backups by default
  assert {
    condition     = length(google_billing_budget.month) + length(google_project_service.budget) + length(google_firestore_backup_schedule.daily) == 0
    error_message = "something that costs money or needs more rights exists by default"
  }
  assert {
    condition     = google_firestore_database.documents.point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_DISABLED"
    error_message = "the database keeps all versions by default"
  }
}

run "alerts_of_one_system" {
  command = plan
  variables {
    systems = ["signup"]
  }

  assert {
    condition = strcontains(file("README.md"), "| ${length(flatten([
      for policy in concat(
        google_monitoring_alert_policy.dead_letters[*],
        google_monitoring_alert_policy.backlog[*],
        [google_monitoring_alert_policy.errors],
        google_monitoring_alert_policy.relays[*],
        google_monitoring_alert_policy.timers[*],
        values(google_monitoring_alert_policy.budget_burn),
        values(google_monitoring_alert_policy.uptime),
      ) : policy.conditions
    ]))} conditions for signup")
    error_message = "the README does not have the number of conditions of the alerts of signup"
  }
}

run "optional_parts" {
  command = plan
  variables {
    billing_account        = "012345-6789AB-CDEF01"
    budget                 = 50
    notification_channels  = [for number in range(6) : "projects/demo-project/notificationChannels/${number}"]
    backup_days            = 14
    point_in_time_recovery = true
    uptime_checks          = false
    names_prefix           = "staging-"
  }

  # A budget of the project
  assert {
    condition     = google_billing_budget.month[0].amount[0].specified_amount[0].units == "50" && google_billing_budget.month[0].budget_filter[0].projects == toset(["projects/123456789012"])
    error_message = "the budget is not that of the project"
  }
  assert {
    condition     = [for rule in google_billing_budget.month[0].threshold_rules : "${rule.threshold_percent} ${coalesce(rule.spend_basis, "CURRENT_SPEND")}"] == ["0.5 CURRENT_SPEND", "0.9 CURRENT_SPEND", "1 CURRENT_SPEND", "1 FORECASTED_SPEND"]
    error_message = "the budget does not tell early"
  }
  assert {
    condition     = google_billing_budget.month[0].all_updates_rule[0].monitoring_notification_channels == tolist(["projects/demo-project/notificationChannels/1"])
    error_message = "a budget accepts only channels of the type email"
  }

  # Backups
  assert {
    condition     = google_firestore_backup_schedule.daily[0].retention == "1209600s" && length(google_firestore_backup_schedule.daily[0].daily_recurrence) == 1 && google_firestore_backup_schedule.daily[0].database == "staging-data"
    error_message = "the database has no daily backup that is kept for 14 days"
  }
  assert {
    condition     = google_firestore_database.documents.point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_ENABLED"
    error_message = "the database cannot be restored to a minute"
  }

  # Without uptime checks
  assert {
    condition     = length(google_monitoring_uptime_check_config.public) + length(google_monitoring_alert_policy.uptime) == 0
    error_message = "the variable does not switch the uptime checks off"
  }
}
