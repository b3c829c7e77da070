# Every secret of the catalog exists, with or without a value. A service gets only secrets with a value.

variable "secret_locations" {
  description = "The regions that store the secrets, such as [\"europe-west1\"]. Default: Google chooses, which the organization policy gcp.resourceLocations may forbid. A change replaces the secrets, and deletes their values, so set all values in the same deployment."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for location in var.secret_locations : can(regex("^[a-z]+-[a-z]+[0-9]+$", location))])
    error_message = "secret_locations must be Google Cloud regions, such as \"europe-west1\"."
  }
}

locals {
  secrets = toset(values(local.secret_uses)[*].secret)

  # The keys of sign-in: one pair, of which only auth-service has the private half
  key_secrets  = setintersection(local.secrets, ["auth-jwks", "auth-signing-key"])
  missing_keys = setsubtract(local.key_secrets, local.filled_secrets)

  # The values are sensitive. The names are not.
  secret_values  = merge(var.new_keys, var.secrets)
  given_secrets  = setintersection(local.secrets, nonsensitive(toset(keys(local.secret_values))))
  filled_secrets = setunion(local.given_secrets, setintersection(local.secrets, var.secrets_present))

  # Without these secrets, a service would use a stand-in for a mail server or for Stripe. In the cloud, a stand-in is
  # a choice: the environment variable has the value "local".
  stand_ins = {
    mail-url          = { variable = "mail", env = "MAIL", choice = var.mail }
    stripe-secret-key = { variable = "payments", env = "PAYMENTS", choice = var.payments }
  }
  replaced_secrets = toset([for secret, stand_in in local.stand_ins : secret if stand_in.choice != null])
  mounted_secrets  = setsubtract(local.filled_secrets, local.replaced_secrets)

  stand_in_choices = {
    for name in keys(local.services) : name => {
      for use in local.secret_uses : local.stand_ins[use.secret].env => local.stand_ins[use.secret].choice
      if use.service == name && contains(local.replaced_secrets, use.secret)
    }
  }

  # The secrets that have neither a value nor a chosen stand-in
  missing_secrets = [for secret in sort(local.secrets) : secret if contains(keys(local.stand_ins), secret) && !contains(setunion(local.filled_secrets, local.replaced_secrets), secret)]

  # The environment variables that a service needs with a secret
  companions = { mail-url = ["MAIL_FROM"] }
  missing_companions = sort(flatten([
    for use in local.secret_uses : [
      for companion in lookup(local.companions, use.secret, []) : "${companion} of ${use.service}"
      if contains(local.mounted_secrets, use.secret) && lookup(lookup(var.environment, use.service, {}), companion, "") == ""
    ]
  ]))
}

# The rules for the secrets. Here they stop the plan; later, a service would not start, or would send no mails.
resource "terraform_data" "secrets" {
  lifecycle {
    precondition {
      condition = length(local.missing_secrets) == 0
      error_message = join("\n", [for secret in local.missing_secrets : join("", [
        "The secret ${secret} has no value. Set it in the variable secrets, or choose the local stand-in: ",
        "${local.stand_ins[secret].variable} = \"local\" (with scripts/deploy: ${local.stand_ins[secret].env}=local). ",
        "If the value is in Secret Manager already, name the secret in secrets_present.",
      ])])
    }
    precondition {
      condition = length(local.missing_keys) == 0
      error_message = join("", [
        "The keys of sign-in have no values: ${join(", ", sort(local.missing_keys))}. scripts/deploy makes them. By hand: ",
        "`functions keys new` prints both values, for the variable secrets.",
      ])
    }
    precondition {
      condition     = length(local.missing_companions) == 0
      error_message = "Services with the secret mail-url need a sender. Set these in the variable environment: ${join(", ", local.missing_companions)}."
    }
    precondition {
      condition     = length(setintersection(local.given_secrets, local.replaced_secrets)) == 0
      error_message = "These secrets have a value in the variable secrets, and their stand-in is chosen too: ${join(", ", setintersection(local.given_secrets, local.replaced_secrets))}. Omit one of them."
    }
  }
}

resource "google_secret_manager_secret" "secret" {
  for_each = local.secrets

  project   = var.project_id
  secret_id = "${local.prefix}${each.key}"

  replication {
    dynamic "auto" {
      for_each = length(var.secret_locations) == 0 ? [true] : []
      content {}
    }
    dynamic "user_managed" {
      for_each = length(var.secret_locations) == 0 ? [] : [true]
      content {
        dynamic "replicas" {
          for_each = var.secret_locations
          content {
            location = replicas.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "value" {
  for_each = local.given_secrets

  secret = google_secret_manager_secret.secret[each.key].id

  # Write-only: the value goes to Google and not into the state. The state holds a short hash instead. It
  # changes with the value, and is too short to find the value.
  secret_data_wo         = local.secret_values[each.key]
  secret_data_wo_version = parseint(substr(sha256(local.secret_values[each.key]), 0, 6), 16)

  # A stored value is never deleted: if it is left out of the variable, Terraform forgets it, and it stays in Secret
  # Manager. So the old version may go first. With create_before_destroy, Terraform would create a replaced secret first,
  # too, while its name is taken.
  deletion_policy = "ABANDON"
}

# A change of the regions replaces the secrets, and their grants go with them.
resource "terraform_data" "secret_locations" {
  input = var.secret_locations
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.secret_uses

  project   = var.project_id
  secret_id = google_secret_manager_secret.secret[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.service_members[each.value.service]

  # The name of a replaced secret stays, so without this rule the grants of the old secret would count as those of the new
  # one, and no service could read it.
  lifecycle {
    replace_triggered_by = [terraform_data.secret_locations]
  }
}
