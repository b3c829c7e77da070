# Each minute, publishes the events that a producer has committed but not published, because it crashed
# in between or because Pub/Sub was unavailable.
resource "google_cloud_scheduler_job" "relay" {
  for_each = local.relays

  project     = var.project_id
  region      = var.region
  name        = "${local.prefix}${each.key}-relay"
  description = "Publishes the pending events of ${each.key}"
  schedule    = "* * * * *"
  time_zone   = "Etc/UTC"

  attempt_deadline = "${local.timing.requestTimeoutSeconds}s"

  # The job of the next minute is the retry.
  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = "${google_cloud_run_v2_service.service[each.key].uri}/relay"
    oidc_token {
      service_account_email = local.delivery_emails[each.key]
      audience              = local.audiences[each.key]
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.delivery]
}
