# Every secret of the catalog exists, with or without a value. A service gets only secrets with a value, so
# the first apply needs no values.

locals {
  secrets = toset(values(local.secret_uses)[*].secret)

  # The values are sensitive. The names are not.
  given_secrets  = setintersection(local.secrets, nonsensitive(toset(keys(var.secrets))))
  filled_secrets = setunion(local.given_secrets, setintersection(local.secrets, var.secrets_present))
}

resource "google_secret_manager_secret" "secret" {
  for_each = local.secrets

  project   = var.project_id
  secret_id = "${local.prefix}${each.key}"

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "value" {
  for_each = local.given_secrets

  secret = google_secret_manager_secret.secret[each.key].id

  # Write-only: the value goes to Google and not into the state. The state holds a short hash instead. It
  # changes with the value, and is too short to find the value.
  secret_data_wo         = var.secrets[each.key]
  secret_data_wo_version = parseint(substr(sha256(var.secrets[each.key]), 0, 6), 16)

  # The old version is destroyed after the services have switched to the new one.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.secret_uses

  project   = var.project_id
  secret_id = google_secret_manager_secret.secret[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.service_members[each.value.service]
}
