resource "google_pubsub_subscription" "push" {
  for_each = local.subscriptions

  project = var.project_id
  name    = "${local.prefix}${each.key}"
  topic   = google_pubsub_topic.events[each.value.topic].id
  filter  = each.value.filter

  ack_deadline_seconds       = local.timing.ackDeadlineSeconds
  message_retention_duration = "${local.delivery.retentionSeconds}s"

  push_config {
    push_endpoint = "${google_cloud_run_v2_service.service[each.value.service].uri}/"
    oidc_token {
      service_account_email = local.delivery_emails[each.value.service]
      audience              = local.audiences[each.value.service]
    }
  }

  retry_policy {
    minimum_backoff = "${local.delivery.minBackoffSeconds}s"
    maximum_backoff = "${local.delivery.maxBackoffSeconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters[each.value.deadLetterTopic].id
    max_delivery_attempts = local.delivery.maxDeliveryAttempts
  }

  # By default, Pub/Sub deletes a subscription after 31 days without activity. A quiet system must keep it.
  expiration_policy {
    ttl = ""
  }

  # Pushes start as soon as the subscription exists, so their grants and the holder of dead letters must
  # exist first.
  depends_on = [
    google_cloud_run_v2_service_iam_member.delivery,
    google_pubsub_subscription.holder,
    google_pubsub_topic_iam_member.agent_parks,
    google_service_account_iam_member.agent_signs,
  ]
}

# The second grant for dead letters; topics.tf has the first. Pub/Sub acknowledges a message here after it has
# published it to the dead-letter topic.
resource "google_pubsub_subscription_iam_member" "agent_acknowledges" {
  for_each = local.subscriptions

  project      = var.project_id
  subscription = google_pubsub_subscription.push[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = google_project_service_identity.pubsub.member

  # A changed filter replaces the subscription. Its name stays, so without this rule the grant of the old subscription
  # would count as the grant of the new one, and nothing would be dead-lettered.
  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.push[each.key].filter, google_pubsub_subscription.push[each.key].topic]
  }
}

# Pub/Sub may sign the tokens of its pushes as the delivery identity, and as no other account of the project.
resource "google_service_account_iam_member" "agent_signs" {
  for_each = { for name, service in local.services : name => service if length(service.subscriptions) > 0 }

  service_account_id = google_service_account.delivery[each.key].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_project_service_identity.pubsub.member
}
