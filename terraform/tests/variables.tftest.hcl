# Terraform rejects invalid values before it plans, with a message that describes the valid values. Each plan has as
# many of them as it can: a variable with several rules is in several plans, and the rule of memory needs a valid cpu.

mock_provider "google" {
  source          = "./tests/mocks/google"
  override_during = plan
}

mock_provider "google-beta" {
  source          = "./tests/mocks/google-beta"
  override_during = plan
}

variables {
  project_id = "demo-project"
  image      = "us-central1-docker.pkg.dev/demo-project/functions/functions:1"
  mail       = "local"
  payments   = "local"

  secrets_present = ["auth-jwks", "auth-signing-key"]
}

run "rejects_invalid_values" {
  command = plan
  variables {
    project_id            = "My Project"            # The name of a project
    region                = "us-central1-a"         # A zone
    image                 = "functions"             # No registry
    systems               = ["signup", "shop-typo"] # An unknown system
    names_prefix          = "staging"               # No hyphen
    labels                = { Team = "x" }          # Upper case
    environment           = { mail-service = {} }   # An unknown service
    secrets               = { stripe = "sk" }       # An unknown secret
    secrets_present       = ["mail"]                # An unknown secret
    concurrency           = 0
    min_instances         = { user-service = 11 } # Above max_instances
    memory                = "512"                 # No unit
    notification_email    = "me"
    notification_channels = ["12345"]
    backlog_alert_seconds = 10
    error_alert_share     = 10
    mail                  = "fake"
    payments              = "fake"
    operators             = ["allUsers"]               # Everyone
    domain                = "https://api.example.com/" # A URL
    availability_goal     = 1
    billing_account       = "My Billing Account"
    budget                = 0
    backup_days           = 100
    secret_locations      = ["eu"] # A multi-region
    older_shares          = { crm-service = { crm-service-1 = 60, crm-service-2 = 60 } }
  }
  expect_failures = [
    var.project_id,
    var.region,
    var.image,
    var.systems,
    var.names_prefix,
    var.labels,
    var.environment,
    var.secrets,
    var.secrets_present,
    var.concurrency,
    var.min_instances,
    var.memory,
    var.notification_email,
    var.notification_channels,
    var.backlog_alert_seconds,
    var.error_alert_share,
    var.mail,
    var.payments,
    var.operators,
    var.domain,
    var.availability_goal,
    var.billing_account,
    var.budget,
    var.backup_days,
    var.older_shares,
    var.secret_locations,
  ]
}

run "rejects_values_against_a_second_rule" {
  command = plan
  variables {
    systems       = []
    names_prefix  = "a-rather-long-one-"
    environment   = { email-service = { PUSH_AUTH = "none" } } # Overrides a variable of this configuration
    secrets       = { stripe-secret-key = "" }
    min_instances = { web = 1 } # An unknown service
    cpu           = "0.5"
  }
  expect_failures = [
    var.systems,
    var.names_prefix,
    var.environment,
    var.secrets,
    var.min_instances,
    var.cpu,
  ]
}

run "rejects_values_against_a_third_rule" {
  command = plan
  variables {
    names_prefix  = "ticket-"                                          # Another copy has a ticket-order-service
    environment   = { billing-service = { STRIPE_SECRET_KEY = "sk" } } # A secret
    max_instances = 0
    cpu           = "4"
    memory        = "512Mi" # Too little for four CPUs
  }
  expect_failures = [
    var.names_prefix,
    var.environment,
    var.max_instances,
    var.memory,
  ]
}

# A copy with the prefix "x-" has an x-ticket-order-service, too.
run "rejects_a_prefix_that_ends_like_a_name" {
  command = plan
  variables {
    names_prefix = "x-ticket-"
  }
  expect_failures = [var.names_prefix]
}

run "rejects_too_much_memory_for_one_cpu" {
  command = plan
  variables {
    memory = "4097Mi"
  }
  expect_failures = [var.memory]
}

run "rejects_more_memory_than_any_instance_has" {
  command = plan
  variables {
    cpu    = "8"
    memory = "33Gi"
  }
  expect_failures = [var.memory]
}

run "accepts_eight_cpus_with_4Gi" {
  command = plan
  variables {
    cpu    = "8"
    memory = "4Gi"
  }
}

run "accepts_eight_cpus_with_32Gi" {
  command = plan
  variables {
    cpu    = "8"
    memory = "32Gi"
  }
}
