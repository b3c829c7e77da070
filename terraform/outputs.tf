output "urls" {
  description = "The URL of every service. Only the public ones answer everyone. Each is an output of its own as well, in service_urls.tf.json."
  value       = local.urls
}

output "push" {
  description = "How each service is delivered to: what it verifies, and the token's identity and audience."
  value = {
    for name in keys(local.services) : name => {
      auth            = local.push_auth[name]
      audience        = local.audiences[name]
      service_account = local.delivery_emails[name]
    }
  }
}

output "topics" {
  description = "The topics by their name in the catalog, for gcloud pubsub topics publish."
  value       = { for name, topic in google_pubsub_topic.events : name => topic.name }
}

output "holders" {
  description = "The subscriptions that hold dead letters, for gcloud pubsub subscriptions pull."
  value       = sort([for holder in google_pubsub_subscription.holder : holder.name])
}

output "dashboards" {
  description = "Where to look, by system."
  value       = { for system, dashboard in google_monitoring_dashboard.system : system => "https://console.cloud.google.com/monitoring/dashboards/builder/${reverse(split("/", dashboard.id))[0]}?project=${var.project_id}" }
}

output "database" {
  description = "The Firestore database."
  value       = google_firestore_database.documents.name
}

output "image_name" {
  description = "Where scripts/deploy pushes the image to, without tag."
  value       = "${google_artifact_registry_repository.images.location}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}/functions"
}

output "build_service_account" {
  description = "Whom scripts/deploy builds the image as."
  value       = "projects/${var.project_id}/serviceAccounts/${trimprefix(local.build_member, "serviceAccount:")}"
}

output "build_bucket" {
  description = "Where scripts/deploy puts the sources for the build."
  value       = google_storage_bucket.build.name
}

output "region" {
  description = "The region of the services."
  value       = google_artifact_registry_repository.images.location
}

locals {
  urls = { for name, service in google_cloud_run_v2_service.service : name => service.uri }
}
