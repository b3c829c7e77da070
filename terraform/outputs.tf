output "urls" {
  description = "The URL of each service. Only public services accept calls from everyone. service_urls.tf.json also declares one output for each URL."
  value       = local.urls
}

output "push" {
  description = "How pushes to each service are authenticated: the mode (PUSH_AUTH), and the identity and the audience of the token."
  value = {
    for name in keys(local.services) : name => {
      auth            = local.push_auth[name]
      audience        = local.audiences[name]
      service_account = local.delivery_emails[name]
    }
  }
}

output "topics" {
  description = "The names of the topics, by their names in the catalog. For gcloud pubsub topics publish."
  value       = { for name, topic in google_pubsub_topic.events : name => topic.name }
}

output "holders" {
  description = "The subscriptions that hold dead letters. functions dead-letters reads them."
  value       = sort([for holder in google_pubsub_subscription.holder : holder.name])
}

output "dashboards" {
  description = "The URL of the dashboard of each system."
  value       = { for system, dashboard in google_monitoring_dashboard.system : system => "https://console.cloud.google.com/monitoring/dashboards/builder/${reverse(split("/", dashboard.id))[0]}?project=${var.project_id}" }
}

output "database" {
  description = "The name of the Firestore database."
  value       = google_firestore_database.documents.name
}

output "image_name" {
  description = "The name of the image that scripts/deploy pushes, without a tag."
  value       = "${google_artifact_registry_repository.images.location}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}/functions"
}

output "build_service_account" {
  description = "The service account that builds the image for scripts/deploy."
  value       = "projects/${var.project_id}/serviceAccounts/${trimprefix(local.build_member, "serviceAccount:")}"
}

output "build_bucket" {
  description = "The bucket for the sources that scripts/deploy uploads."
  value       = google_storage_bucket.build.name
}

output "region" {
  description = "The region of the services."
  value       = google_artifact_registry_repository.images.location
}

# A deployment that lacks a variable of the last one would reset it in silence. scripts/deploy compares. The reference to
# a resource makes this a part of each plan, also of one with -target.
output "settings" {
  description = "The variables of the last deployment, except those that scripts/deploy sets, and secrets."
  depends_on  = [terraform_data.catalog]
  value = {
    availability_goal      = var.availability_goal
    backlog_alert_seconds  = var.backlog_alert_seconds
    backup_days            = var.backup_days
    billing_account        = var.billing_account
    budget                 = var.budget
    concurrency            = var.concurrency
    cpu                    = var.cpu
    domain                 = var.domain
    environment            = var.environment
    error_alert_share      = var.error_alert_share
    firestore_location     = var.firestore_location
    labels                 = var.labels
    mail                   = var.mail
    max_instances          = var.max_instances
    memory                 = var.memory
    min_instances          = var.min_instances
    notification_channels  = var.notification_channels
    notification_email     = var.notification_email
    operators              = var.operators
    payments               = var.payments
    point_in_time_recovery = var.point_in_time_recovery
    protect_data           = var.protect_data
    secret_locations       = var.secret_locations
    storage_regions        = var.storage_regions
    systems                = var.systems
    uptime_checks          = var.uptime_checks
  }
}

locals {
  urls = { for name, service in google_cloud_run_v2_service.service : name => contains(keys(local.domain_services), name) ? "https://${var.domain}" : service.uri }
}
