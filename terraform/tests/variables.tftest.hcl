# Terraform rejects invalid values before it plans, with a message that describes the valid values.

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

run "rejects_a_project_name_as_project_id" {
  command = plan
  variables {
    project_id = "My Project"
  }
  expect_failures = [var.project_id]
}

run "rejects_a_zone_as_region" {
  command = plan
  variables {
    region = "us-central1-a"
  }
  expect_failures = [var.region]
}

run "rejects_an_image_without_registry" {
  command = plan
  variables {
    image = "functions"
  }
  expect_failures = [var.image]
}

run "rejects_an_unknown_system" {
  command = plan
  variables {
    systems = ["signup", "shop-typo"]
  }
  expect_failures = [var.systems]
}

run "rejects_an_empty_set_of_systems" {
  command = plan
  variables {
    systems = []
  }
  expect_failures = [var.systems]
}

run "rejects_a_names_prefix_without_hyphen" {
  command = plan
  variables {
    names_prefix = "staging"
  }
  expect_failures = [var.names_prefix]
}

run "rejects_a_long_names_prefix" {
  command = plan
  variables {
    names_prefix = "a-rather-long-one-"
  }
  expect_failures = [var.names_prefix]
}

run "rejects_upper_case_in_labels" {
  command = plan
  variables {
    labels = { Team = "x" }
  }
  expect_failures = [var.labels]
}

run "rejects_an_environment_for_an_unknown_service" {
  command = plan
  variables {
    environment = { mail-service = {} }
  }
  expect_failures = [var.environment]
}

run "rejects_an_environment_that_overrides_push_auth" {
  command = plan
  variables {
    environment = { email-service = { PUSH_AUTH = "none" } }
  }
  expect_failures = [var.environment]
}

run "rejects_a_secret_in_an_environment" {
  command = plan
  variables {
    environment = { billing-service = { STRIPE_SECRET_KEY = "sk" } }
  }
  expect_failures = [var.environment]
}

run "rejects_an_unknown_secret" {
  command = plan
  variables {
    secrets = { stripe = "sk" }
  }
  expect_failures = [var.secrets]
}

run "rejects_an_empty_secret" {
  command = plan
  variables {
    secrets = { stripe-secret-key = "" }
  }
  expect_failures = [var.secrets]
}

run "rejects_an_unknown_present_secret" {
  command = plan
  variables {
    secrets_present = ["mail"]
  }
  expect_failures = [var.secrets_present]
}

run "rejects_a_concurrency_of_zero" {
  command = plan
  variables {
    concurrency = 0
  }
  expect_failures = [var.concurrency]
}

run "rejects_min_instances_above_max_instances" {
  command = plan
  variables {
    min_instances = { user-service = 11 }
  }
  expect_failures = [var.min_instances]
}

run "rejects_min_instances_of_an_unknown_service" {
  command = plan
  variables {
    min_instances = { web = 1 }
  }
  expect_failures = [var.min_instances]
}

run "rejects_max_instances_of_zero" {
  command = plan
  variables {
    max_instances = 0
  }
  expect_failures = [var.max_instances]
}

run "rejects_half_a_cpu" {
  command = plan
  variables {
    cpu = "0.5"
  }
  expect_failures = [var.cpu]
}

run "rejects_memory_without_unit" {
  command = plan
  variables {
    memory = "512"
  }
  expect_failures = [var.memory]
}

run "rejects_four_cpus_with_too_little_memory" {
  command = plan
  variables {
    cpu = "4"
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

run "rejects_an_invalid_notification_email" {
  command = plan
  variables {
    notification_email = "me"
  }
  expect_failures = [var.notification_email]
}

run "rejects_an_invalid_notification_channel" {
  command = plan
  variables {
    notification_channels = ["12345"]
  }
  expect_failures = [var.notification_channels]
}

run "rejects_backlog_alert_seconds_below_60" {
  command = plan
  variables {
    backlog_alert_seconds = 10
  }
  expect_failures = [var.backlog_alert_seconds]
}

run "rejects_an_error_alert_share_above_1" {
  command = plan
  variables {
    error_alert_share = 10
  }
  expect_failures = [var.error_alert_share]
}

run "rejects_an_unknown_stand_in" {
  command = plan
  variables {
    mail     = "fake"
    payments = "fake"
  }
  expect_failures = [var.mail, var.payments]
}
