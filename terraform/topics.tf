resource "google_pubsub_topic" "events" {
  # checkov:skip=CKV_GCP_83: Google's own keys encrypt the messages. A customer key costs money, and without the key the events are lost.
  for_each = local.topics

  project = var.project_id
  name    = "${local.prefix}${each.key}"

  # Delivered messages can be replayed for this long: seek a subscription to a time. Consumers drop duplicates.
  message_retention_duration = "${local.delivery.retentionSeconds}s"

  dynamic "message_storage_policy" {
    for_each = length(var.storage_regions) > 0 ? [true] : []
    content {
      allowed_persistence_regions = var.storage_regions
    }
  }

  depends_on = [google_project_service.api]
}

# Each service may publish only to its topics in the catalog.
resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.publishers

  project = var.project_id
  topic   = google_pubsub_topic.events[each.value.topic].name
  role    = "roles/pubsub.publisher"
  member  = local.service_members[each.value.service]
}

resource "google_pubsub_topic" "dead_letters" {
  # checkov:skip=CKV_GCP_83: See the topic of events.
  for_each = local.dead_letters

  project = var.project_id
  name    = "${local.prefix}${each.key}"

  dynamic "message_storage_policy" {
    for_each = length(var.storage_regions) > 0 ? [true] : []
    content {
      allowed_persistence_regions = var.storage_regions
    }
  }

  depends_on = [google_project_service.api]
}

# Pub/Sub delivers a message only to subscriptions that exist: without the holder, a dead letter is lost.
resource "google_pubsub_subscription" "holder" {
  for_each = local.dead_letters

  project = var.project_id
  name    = "${local.prefix}${each.key}"
  topic   = google_pubsub_topic.dead_letters[each.key].id

  message_retention_duration = "${local.delivery.deadLetterRetentionSeconds}s"
  ack_deadline_seconds       = 600

  # By default, Pub/Sub deletes a subscription that nobody reads after 31 days. Nobody reads a holder while
  # there are no dead letters.
  expiration_policy {
    ttl = ""
  }
}

# A service publishes the messages that it rejects.
resource "google_pubsub_topic_iam_member" "rejecter" {
  for_each = local.dead_letters

  project = var.project_id
  topic   = google_pubsub_topic.dead_letters[each.key].name
  role    = "roles/pubsub.publisher"
  member  = local.service_members[each.value]
}

# Pub/Sub publishes messages here after too many deliveries. It needs this grant and the grant on the
# subscription (subscriptions.tf). Without either, it delivers forever and reports no error.
resource "google_pubsub_topic_iam_member" "agent_parks" {
  for_each = local.dead_letters

  project = var.project_id
  topic   = google_pubsub_topic.dead_letters[each.key].name
  role    = "roles/pubsub.publisher"
  member  = google_project_service_identity.pubsub.member
}
