# Alerts on the relay jobs, and on the error budget of the public services. monitoring.tf has the alerts on messages and
# on failing requests.

variable "availability_goal" {
  description = "The share of the requests to each public service that must not fail with 5xx, over 28 days. Two alerts fire when the errors use up this budget too fast."
  type        = number
  default     = 0.99

  validation {
    # At 0.94 and above, 14.4 times the budget is a share of errors that can occur.
    condition     = var.availability_goal >= 0.94 && var.availability_goal <= 0.9999
    error_message = "availability_goal must be from 0.94 to 0.9999, such as 0.99."
  }
}

locals {
  # Cloud Scheduler has no metrics of its own. It logs an entry with the severity ERROR for each failed attempt, and with
  # INFO for each attempt that starts or succeeds. Google counts all log entries.
  relay_entries = join(" AND ", [
    "resource.type = \"cloud_scheduler_job\"",
    "metric.type = \"logging.googleapis.com/log_entry_count\"",
    "resource.labels.job_id = one_of(${join(", ", [for job in google_cloud_scheduler_job.relay : "\"${job.name}\""])})",
  ])
}

resource "google_monitoring_alert_policy" "relays" {
  count = length(local.relays) > 0 ? 1 : 0

  project               = var.project_id
  display_name          = "${local.prefix}functions: relays"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  # A single failure is repaired a minute later.
  conditions {
    display_name = "A relay job fails"
    condition_threshold {
      filter          = "${local.relay_entries} AND metric.labels.severity = \"ERROR\""
      comparison      = "COMPARISON_GT"
      threshold_value = 4
      duration        = "0s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.job_id"]
      }
    }
  }

  # A paused or deleted job fails never.
  conditions {
    display_name = "A relay job does not run"
    condition_absent {
      filter   = "${local.relay_entries} AND metric.labels.severity = \"INFO\""
      duration = "1800s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.job_id"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      The job $${resource.label.job_id} calls POST /relay each minute. More than four of its calls failed within ten minutes,
      or it has not run for half an hour. Events that a command has committed, but not published, wait in their receipts
      and are late. Nothing is lost. Read the log of the job, then the log of its service:

          gcloud scheduler jobs describe $${resource.label.job_id} --project ${var.project_id} --location ${var.region}
    EOT
  }

  depends_on = [google_project_service.api]
}

# Error budgets. Callers see the errors of public services only: Pub/Sub repeats a failed push, and other alerts watch the
# backlog and the dead letters.

locals {
  public_services = { for name, service in local.services : name => service if service.public }

  # A burn rate of 1 uses up the budget in exactly 28 days. Each alert has a long window, which ignores short bursts, and
  # a short one, which ends the alert soon after the errors end. See "Alerting on SLOs" in Google's SRE Workbook.
  burn_rates = {
    fast = { rate = 14.4, windows = ["3600s", "300s"], severity = "CRITICAL", used = "2 % of the budget within an hour" }
    slow = { rate = 6, windows = ["21600s", "1800s"], severity = "WARNING", used = "5 % of the budget within six hours" }
  }
}

resource "google_monitoring_custom_service" "public" {
  for_each = local.public_services

  project      = var.project_id
  service_id   = "${local.prefix}${each.key}"
  display_name = "${local.prefix}${each.key}"

  depends_on = [google_project_service.api]
}

resource "google_monitoring_slo" "availability" {
  for_each = local.public_services

  project             = var.project_id
  service             = google_monitoring_custom_service.public[each.key].service_id
  slo_id              = "availability"
  display_name        = "Requests without a server error"
  goal                = var.availability_goal
  rolling_period_days = 28

  request_based_sli {
    good_total_ratio {
      total_service_filter = local.requests_of[each.key]
      bad_service_filter   = "${local.requests_of[each.key]} AND metric.labels.response_code_class = \"5xx\""
    }
  }
}

locals {
  requests_of = {
    for name in keys(local.public_services) : name => join(" AND ", [
      "resource.type = \"cloud_run_revision\"",
      "metric.type = \"run.googleapis.com/request_count\"",
      "resource.labels.service_name = \"${google_cloud_run_v2_service.service[name].name}\"",
    ])
  }
}

resource "google_monitoring_alert_policy" "budget_burn" {
  for_each = merge([
    for name in keys(local.public_services) : { for speed, burn in local.burn_rates : "${name}/${speed}" => merge(burn, { service = name }) }
  ]...)

  project               = var.project_id
  display_name          = "${local.prefix}functions: errors of ${each.key}"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.channels

  dynamic "conditions" {
    for_each = each.value.windows
    content {
      display_name = "Errors use up the budget ${each.value.rate} times too fast, over ${conditions.value}"
      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.availability[each.value.service].name}\", \"${conditions.value}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      ${local.prefix}${each.value.service} fails too often with 5xx. At this rate, it uses up ${each.value.used}. Its goal is that
      ${100 * var.availability_goal} % of the requests succeed over 28 days. If a deployment caused it:

          ${local.deploy_command} --rollback
    EOT
  }
}
