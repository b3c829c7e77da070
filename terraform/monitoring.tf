# Metrics from the logs of the services

locals {
  service_names = sort([for service in google_cloud_run_v2_service.service : service.name])

  # One log line per delivery. The filter names each service, because another copy in the project logs the
  # same lines.
  delivery_lines = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=(${join(" OR ", [for name in local.service_names : "\"${name}\""])})",
    "jsonPayload.message=~\"^delivery\"",
    "jsonPayload.outcome=(\"handled\" OR \"duplicate\" OR \"ignored\" OR \"retry\" OR \"reject\" OR \"panic\")",
  ])
}

resource "google_logging_metric" "deliveries" {
  project     = var.project_id
  name        = "${local.prefix}deliveries"
  description = "Deliveries, by service, outcome (handled, duplicate, ignored, retry, reject, panic) and event type."
  filter      = local.delivery_lines

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
    labels {
      key         = "service"
      value_type  = "STRING"
      description = "The name of the service in the catalog."
    }
    labels {
      key         = "outcome"
      value_type  = "STRING"
      description = "The outcome of the delivery."
    }
    labels {
      key         = "event_type"
      value_type  = "STRING"
      description = "The type of the event."
    }
  }

  label_extractors = {
    service    = "EXTRACT(jsonPayload.service)"
    outcome    = "EXTRACT(jsonPayload.outcome)"
    event_type = "EXTRACT(jsonPayload.eventType)"
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "delivery_milliseconds" {
  project         = var.project_id
  name            = "${local.prefix}delivery_milliseconds"
  description     = "How long a delivery took, by service and outcome."
  filter          = local.delivery_lines
  value_extractor = "EXTRACT(jsonPayload.milliseconds)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"
    labels {
      key         = "service"
      value_type  = "STRING"
      description = "The name of the service in the catalog."
    }
    labels {
      key         = "outcome"
      value_type  = "STRING"
      description = "The outcome of the delivery."
    }
  }

  label_extractors = {
    service = "EXTRACT(jsonPayload.service)"
    outcome = "EXTRACT(jsonPayload.outcome)"
  }

  # From 1 ms to a minute. Each limit is 1.5 times the one before.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 28
      growth_factor      = 1.5
      scale              = 1
    }
  }

  depends_on = [google_project_service.api]
}

# Alerts

resource "google_monitoring_notification_channel" "email" {
  count = var.notification_email == null ? 0 : 1

  project      = var.project_id
  display_name = "${local.prefix}functions"
  type         = "email"
  labels       = { email_address = var.notification_email }

  # Google deletes no channel that an alert uses. With this, the alerts let go of it first.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.api]
}

locals {
  # The commands in the alerts select this copy.
  copy_environment = local.prefix == "" ? [] : ["NAMES_PREFIX=${local.prefix}", "FIRESTORE_DATABASE=${local.database}"]
  deploy_command   = join(" ", concat(local.prefix == "" ? [] : ["TF_VAR_names_prefix=${local.prefix}"], ["scripts/deploy ${var.project_id}"]))
  dead_letters_command = join(" ", concat(
    local.copy_environment,
    ["functions dead-letters --project ${var.project_id}"],
  ))

  channels = concat(google_monitoring_notification_channel.email[*].id, sort(var.notification_channels))

  # The alerts name their subscriptions, because another copy in the project has its own alerts. A filter
  # has at most 2,048 characters, which is enough for about fifty names.
  holder_names = sort([for holder in google_pubsub_subscription.holder : holder.name])
  push_names   = sort([for push in google_pubsub_subscription.push : push.name])
}

resource "google_monitoring_alert_policy" "dead_letters" {
  count = length(local.dead_letters) > 0 ? 1 : 0

  project               = var.project_id
  display_name          = "${local.prefix}functions: dead letters"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  # The alert stays open until the dead letters are replayed or dropped.
  conditions {
    display_name = "There is a dead letter"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"pubsub_subscription\"",
        "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"",
        "resource.labels.subscription_id = one_of(${join(", ", [for name in local.holder_names : "\"${name}\""])})",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  # While it is open, further dead letters send no mail, and after the retention all of them are lost. So a mail a day
  # reminds of them.
  dynamic "alert_strategy" {
    for_each = length(local.channels) > 0 ? [true] : []
    content {
      notification_channel_strategy {
        notification_channel_names = local.channels
        renotify_interval          = "86400s"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      A service rejected a message, failed on it too often, or did not answer. The subscription
      $${resource.label.subscription_id} keeps the message for ${floor(local.delivery.deadLetterRetentionSeconds / 86400)} days. Unless the service
      did not answer, a reason says why. Operators group the letters, look at one, and replay or drop a group:

          ${local.dead_letters_command} groups
          ${local.dead_letters_command} list --group GROUP
          ${local.dead_letters_command} show LETTER
          ${local.dead_letters_command} replay --group GROUP
          ${local.dead_letters_command} drop --group GROUP

      "Replay a dead letter" in the project's README explains them.
    EOT
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "backlog" {
  count = length(local.subscriptions) > 0 ? 1 : 0

  project               = var.project_id
  display_name          = "${local.prefix}functions: backlog"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "The oldest message waits too long"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"pubsub_subscription\"",
        "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"",
        "resource.labels.subscription_id = one_of(${join(", ", [for name in local.push_names : "\"${name}\""])})",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = var.backlog_alert_seconds
      duration        = "0s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      A message in $${resource.label.subscription_id} has waited for more than ${var.backlog_alert_seconds} seconds. Either its service fails on it (look
      for the outcome `retry` in the logs of the service), or the load is too high for ${var.max_instances} instances.
    EOT
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "errors" {
  project               = var.project_id
  display_name          = "${local.prefix}functions: errors"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "Too many requests fail with 5xx"
    condition_threshold {
      filter             = "${local.requests} AND metric.labels.response_code_class = \"5xx\""
      denominator_filter = local.requests
      comparison         = "COMPARISON_GT"
      threshold_value    = var.error_alert_share
      duration           = "300s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.service_name"]
      }
      denominator_aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.labels.service_name"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      More than ${floor(100 * var.error_alert_share)} % of the requests to $${resource.label.service_name} fail. 503 is a retry: a dependency of
      the service is unavailable, and Pub/Sub delivers again. 500 is a bug in the service. Its logs have the details.
    EOT
  }

  depends_on = [google_project_service.api]
}

locals {
  requests = join(" AND ", [
    "resource.type = \"cloud_run_revision\"",
    "metric.type = \"run.googleapis.com/request_count\"",
    "resource.labels.service_name = one_of(${join(", ", [for name in local.service_names : "\"${name}\""])})",
  ])
}

# One dashboard per system, one row per service. (A dashboard has at most a hundred charts, too few for all systems.)

locals {
  # The charts of a row, from left to right
  charts = {
    for name, service in local.services : name => concat(
      [
        {
          title = "${name}: ${length(service.subscriptions) > 0 ? "deliveries" : "requests"} by answer, per minute"
          lines = [{
            filter   = "metric.type=\"run.googleapis.com/request_count\" resource.type=\"cloud_run_revision\" resource.label.service_name=\"${local.prefix}${name}\""
            aligner  = "ALIGN_DELTA"
            reducer  = "REDUCE_SUM"
            group_by = "metric.label.response_code_class"
          }]
        },
      ],
      [for shown in [name] : {
        title = "${name}: outcomes, per minute"
        lines = [{
          filter   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.deliveries.name}\" resource.type=\"cloud_run_revision\" resource.label.service_name=\"${local.prefix}${name}\""
          aligner  = "ALIGN_DELTA"
          reducer  = "REDUCE_SUM"
          group_by = "metric.label.outcome"
        }]
      } if length(service.subscriptions) > 0],
      [
        {
          title = "${name}: latency in ms, median and 95 %"
          lines = [for percentile in ["50", "95"] : {
            filter   = "metric.type=\"run.googleapis.com/request_latencies\" resource.type=\"cloud_run_revision\" resource.label.service_name=\"${local.prefix}${name}\""
            aligner  = "ALIGN_DELTA"
            reducer  = "REDUCE_PERCENTILE_${percentile}"
            group_by = "resource.label.service_name"
          }]
        },
      ],
      [for shown in [name] : {
        title = "${name}: backlog"
        lines = [for subscription in service.subscriptions : {
          filter   = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" resource.type=\"pubsub_subscription\" resource.label.subscription_id=\"${local.prefix}${subscription.name}\""
          aligner  = "ALIGN_MAX"
          reducer  = "REDUCE_MAX"
          group_by = "resource.label.subscription_id"
        }]
      } if length(service.subscriptions) > 0],
      [for shown in [name] : {
        title = "${name}: dead letters"
        lines = [for topic in distinct(service.subscriptions[*].deadLetterTopic) : {
          filter   = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" resource.type=\"pubsub_subscription\" resource.label.subscription_id=\"${local.prefix}${topic}\""
          aligner  = "ALIGN_MAX"
          reducer  = "REDUCE_MAX"
          group_by = "resource.label.subscription_id"
        }]
      } if length(service.subscriptions) > 0],
    )
  }
}

resource "google_monitoring_dashboard" "system" {
  for_each = local.systems

  project = var.project_id
  dashboard_json = jsonencode({
    displayName = "${local.prefix}${each.key}"
    labels      = { functions = "" }
    mosaicLayout = {
      columns = 40
      tiles = flatten([
        for row, name in [for service in local.catalog.services : service.name if service.system == each.key] : [
          # Google leaves a position of zero out of its answer, and then each plan would show a change.
          for column, chart in local.charts[name] : merge(column == 0 ? {} : { xPos = column * 8 }, row == 0 ? {} : { yPos = row * 8 }, {
            width                                                                   = 8
            height                                                                  = 8
            widget = {
              title = chart.title
              xyChart = {
                dataSets = [
                  for line in chart.lines : {
                    plotType   = "LINE"
                    targetAxis = "Y1"
                    timeSeriesQuery = {
                      timeSeriesFilter = {
                        filter = line.filter
                        aggregation = {
                          alignmentPeriod    = "60s"
                          perSeriesAligner   = line.aligner
                          crossSeriesReducer = line.reducer
                          groupByFields      = [line.group_by]
                        }
                      }
                    }
                  }
                ]
              }
            }
          })
        ]
      ])
    }
  })

  depends_on = [google_project_service.api]
}
