# Uptime checks: Google calls a public route of each public service from the internet, as a customer does.

variable "uptime_checks" {
  description = "Whether Google calls the first GET route of each public service every five minutes, from three or more regions."
  type        = bool
  default     = true
}

locals {
  # The path of the first GET route. A parameter gets an id that does not exist: the service reads the database and answers
  # 404.
  uptime_paths = {
    for name, service in local.public_services : name => replace(trimprefix([for route in try(service.routes, []) : route if startswith(route, "GET ")][0], "GET "), "/{[^}]*}/", "uptime-check")
    if var.uptime_checks && anytrue([for route in try(service.routes, []) : startswith(route, "GET ")])
  }
}

resource "google_monitoring_uptime_check_config" "public" {
  for_each = local.uptime_paths

  project      = var.project_id
  display_name = "${local.prefix}${each.key}"
  period       = "300s"
  timeout      = "10s"

  http_check {
    path         = each.value
    port         = 443
    use_ssl      = true
    validate_ssl = true

    # A route may refuse the caller or not know the id, but it must answer.
    dynamic "accepted_response_status_codes" {
      for_each = ["STATUS_CLASS_2XX", "STATUS_CLASS_4XX"]
      content {
        status_class = accepted_response_status_codes.value
      }
    }
  }

  # The services answer in JSON, errors too. Google's front end answers 403 and 404 in HTML.
  content_matchers {
    content = "^\\s*[{\\[]"
    matcher = "MATCHES_REGEX"
  }

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project_id, host = var.domain == null ? trimprefix(google_cloud_run_v2_service.service[each.key].uri, "https://") : var.domain }
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "uptime" {
  for_each = local.uptime_paths

  project               = var.project_id
  display_name          = "${local.prefix}functions: ${each.key} is down"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = "Two regions cannot reach ${each.key}"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"uptime_url\"",
        "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\"",
        "metric.labels.check_id = \"${google_monitoring_uptime_check_config.public[each.key].uptime_check_id}\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "60s"
      aggregations {
        alignment_period     = "1200s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  # Google deletes no check that an alert uses, so a replaced check takes its alert along. With create_before_destroy on the
  # check, Terraform would create the service before it deletes the old one, too: a service whose first revision fails is
  # replaced by the next deployment, and its name would be taken.
  lifecycle {
    replace_triggered_by = [google_monitoring_uptime_check_config.public[each.key].monitored_resource]
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      Google cannot reach ${local.prefix}${each.key} at GET ${each.value} from two or more regions. An answer in
      JSON counts, except a server error. Look at the logs of the service, then at its newest revision. To return to the revision
      before:

          ${local.deploy_command} --rollback
    EOT
  }
}
