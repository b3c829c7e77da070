mock_resource "google_cloud_run_v2_service" {
  defaults = { uri = "https://service.run.app" }
}

mock_resource "google_service_account" {
  defaults = { name = "projects/demo-project/serviceAccounts/account@demo-project.iam.gserviceaccount.com" }
}

mock_resource "google_pubsub_topic" {
  defaults = { id = "projects/demo-project/topics/topic" }
}

mock_resource "google_secret_manager_secret_version" {
  defaults = { version = "7" }
}

mock_resource "google_monitoring_notification_channel" {
  defaults = { id = "projects/demo-project/notificationChannels/1" }
}

mock_resource "google_monitoring_dashboard" {
  defaults = { id = "projects/123456789012/dashboards/abc" }
}

mock_resource "google_monitoring_uptime_check_config" {
  defaults = { uptime_check_id = "check" }
}

mock_resource "google_monitoring_slo" {
  defaults = { name = "projects/123456789012/services/service/serviceLevelObjectives/availability" }
}

mock_data "google_project" {
  defaults = { number = "123456789012" }
}

mock_resource "google_cloud_tasks_queue" {
  defaults = { id = "projects/demo-project/locations/us-central1/queues/timers" }
}
