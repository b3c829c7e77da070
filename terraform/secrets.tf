# Every secret of the catalog exists, with or without a value. A service gets those that have one, so
# the first apply needs none.

locals {
  secrets = toset(values(local.secret_uses)[*].secret)

  # Which names have a value is no secret, unlike the values.
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

  # Write-only: the value reaches Google, not the state. What the state holds in its place changes with
  # the value, and is too short to find the value by.
  secret_data_wo         = var.secrets[each.key]
  secret_data_wo_version = parseint(substr(sha256(var.secrets[each.key]), 0, 6), 16)

  # The old version goes when no service names it any more.
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
