# Operators repair dead letters with `functions dead-letters` and `functions console`. These are exactly the rights that
# both need.

locals {
  # The topics that dead letters come from
  replayed_topics = toset(values(local.subscriptions)[*].topic)

  reads_holder = merge([
    for holder in keys(local.dead_letters) : { for operator in var.operators : "${holder}/${operator}" => { holder = holder, operator = operator } }
  ]...)
  replays = merge([
    for topic in local.replayed_topics : { for operator in var.operators : "${topic}/${operator}" => { topic = topic, operator = operator } }
  ]...)
}

# An operator leases dead letters, and removes those that are replayed or dropped.
resource "google_pubsub_subscription_iam_member" "operator" {
  for_each = local.reads_holder

  project      = var.project_id
  subscription = google_pubsub_subscription.holder[each.value.holder].name
  role         = "roles/pubsub.subscriber"
  member       = each.value.operator
}

# A replay goes to the original topic. Whoever may publish there can also publish other events.
resource "google_pubsub_topic_iam_member" "operator" {
  for_each = local.replays

  project = var.project_id
  topic   = google_pubsub_topic.events[each.value.topic].name
  role    = "roles/pubsub.publisher"
  member  = each.value.operator
}

# The receipt tells whether a replay is handled. Firestore has no grants below a database, so an operator can read all
# documents of this copy.
resource "google_project_iam_member" "operator_reads" {
  for_each = var.operators

  project = var.project_id
  role    = "roles/datastore.viewer"
  member  = each.value

  condition {
    title      = "${local.prefix}documents"
    expression = "resource.name == \"projects/${var.project_id}/databases/${local.database}\""
  }

  depends_on = [google_project_service.api]
}

# The number of waiting messages comes from Cloud Monitoring. It has no grants below a project. The condition is always
# true: it makes the grant the own one of this copy. Without it, two copies would share the grant of an operator of both, and
# the removal of one copy would take it from the other.
resource "google_project_iam_member" "operator_monitors" {
  for_each = var.operators

  project = var.project_id
  role    = "roles/monitoring.viewer"
  member  = each.value

  condition {
    title      = "${local.prefix}metrics"
    expression = "request.time >= timestamp(\"2020-01-01T00:00:00Z\")"
  }

  depends_on = [google_project_service.api]
}
