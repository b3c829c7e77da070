resource "google_pubsub_topic" "events" {
  # checkov:skip=CKV_GCP_83: Google's own keys encrypt the messages; a customer key costs money and, once lost, takes the events along.
  for_each = local.topics

  project = var.project_id
  name    = "${local.prefix}${each.key}"

  # What was delivered can be replayed for as long: seek a subscription to a time, consumers drop what they know.
  message_retention_duration = "${local.delivery.retentionSeconds}s"

  dynamic "message_storage_policy" {
    for_each = length(var.storage_regions) > 0 ? [true] : []
    content {
      allowed_persistence_regions = var.storage_regions
    }
  }

  depends_on = [google_project_service.api]
}

# Each service publishes to the topics it names in the catalog, and to nothing else.
resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.publishers

  project = var.project_id
  topic   = google_pubsub_topic.events[each.value.topic].name
  role    = "roles/pubsub.publisher"
  member  = local.service_members[each.value.service]
}

resource "google_pubsub_topic" "dead_letters" {
  # checkov:skip=CKV_GCP_83: As for the events above.
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

# A topic keeps nothing for a subscription that does not exist: without the holder, a dead letter is gone.
resource "google_pubsub_subscription" "holder" {
  for_each = local.dead_letters

  project = var.project_id
  name    = "${local.prefix}${each.key}"
  topic   = google_pubsub_topic.dead_letters[each.key].id

  message_retention_duration = "${local.delivery.deadLetterRetentionSeconds}s"
  ack_deadline_seconds       = 600

  # A subscription that nobody reads expires after 31 days, and a good holder is one that nobody reads.
  expiration_policy {
    ttl = ""
  }
}

# A service parks what it rejects.
resource "google_pubsub_topic_iam_member" "rejecter" {
  for_each = local.dead_letters

  project = var.project_id
  topic   = google_pubsub_topic.dead_letters[each.key].name
  role    = "roles/pubsub.publisher"
  member  = local.service_members[each.value]
}

# Pub/Sub parks what was delivered too often. It needs this grant and the one on the subscription
# (subscriptions.tf); without either it delivers for ever and says nothing.
resource "google_pubsub_topic_iam_member" "agent_parks" {
  for_each = local.dead_letters

  project = var.project_id
  topic   = google_pubsub_topic.dead_letters[each.key].name
  role    = "roles/pubsub.publisher"
  member  = google_project_service_identity.pubsub.member
}
