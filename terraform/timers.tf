# The timers of the services that publish events at a later time: a queue of Cloud Tasks for each service

locals {
  timer_services = { for name, service in local.services : name => service if try(service.timerQueue, null) != null }
}

# Its random id is the suffix of the queue's name. A deleted queue blocks its name for 7 days, so a service that is removed
# and deployed again needs another name.
resource "terraform_data" "timers" {
  for_each = local.timer_services
}

moved {
  from = terraform_data.timers
  to   = terraform_data.timers["expiration-service"]
}

resource "google_cloud_tasks_queue" "timers" {
  for_each = local.timer_services

  project  = var.project_id
  location = var.region
  name     = "${local.prefix}${each.value.timerQueue}-${substr(terraform_data.timers[each.key].id, 0, 6)}"

  # A task that has used up its retries is deleted, and nobody would hear of it. So it is tried until Cloud Tasks deletes
  # it, 31 days after its creation.
  retry_config {
    max_attempts       = -1
    max_retry_duration = "0s"
    min_backoff        = "1s"
    max_backoff        = "600s"
    max_doublings      = 16
  }

  stackdriver_logging_config {
    sampling_ratio = 1
  }

  # A new queue would have no tasks: `functions timers reconcile` would have to create them again. scripts/destroy lifts
  # this.
  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.api]
}

# A service sets and cancels its own timers.
resource "google_cloud_tasks_queue_iam_member" "timers" {
  for_each = merge([
    for name in keys(local.timer_services) : {
      for role in ["enqueuer", "taskDeleter"] : "${name}/${role}" => { service = name, role = "roles/cloudtasks.${role}" }
    }
  ]...)

  project  = var.project_id
  location = google_cloud_tasks_queue.timers[each.value.service].location
  name     = google_cloud_tasks_queue.timers[each.value.service].name
  role     = each.value.role
  member   = local.service_members[each.value.service]
}

# A task publishes with the token of the service's own account, so it can do nothing that the service cannot. Whoever
# creates such a task must be allowed to act as that account.
resource "google_service_account_iam_member" "timers_act" {
  for_each = local.timer_services

  service_account_id = google_service_account.service[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.service_members[each.key]
}

resource "google_monitoring_alert_policy" "timers" {
  count = length(local.timer_services) > 0 ? 1 : 0

  project               = var.project_id
  display_name          = "${local.prefix}functions: timers"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "Timers fail"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"cloud_tasks_queue\"",
        "metric.type = \"cloudtasks.googleapis.com/queue/task_attempt_count\"",
        "metric.labels.response_code != \"ok\"",
        local.timer_queues,
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "600s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
    }
  }

  conditions {
    display_name = "Timers are late"
    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"cloud_tasks_queue\"",
        "metric.type = \"cloudtasks.googleapis.com/queue/task_attempt_delays\"",
        local.timer_queues,
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 300000 # milliseconds
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_PERCENTILE_99"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      Cloud Tasks cannot publish the events of the queue $${resource.label.queue_id}, or publishes them more than five
      minutes late. Events are late, but no decision depends on them. Read the log of the queue. A missing grant of the
      service's account is the likely cause. Tasks are kept for 31 days. If tasks are lost, create them again:

          ${join("\n    ", local.reconcile_commands)}
    EOT
  }

  depends_on = [google_project_service.api]
}

locals {
  reconcile_commands = [
    for name, queue in google_cloud_tasks_queue.timers : join(" ", concat(local.copy_environment, [
      "GOOGLE_CLOUD_PROJECT=${var.project_id}",
      "TIMER_QUEUE=${queue.id}",
      "TIMER_SERVICE_ACCOUNT=${local.service_emails[name]}",
      "functions timers reconcile ${name}",
    ]))
  ]

  timer_queues = "resource.labels.queue_id = one_of(${join(", ", [for queue in google_cloud_tasks_queue.timers : "\"${queue.name}\""])})"
}
