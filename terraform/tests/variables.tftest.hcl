# Wrong values are refused before anything is planned, each with a message that says what is right.

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
}

run "project_id_not_an_id" {
  command = plan
  variables {
    project_id = "My Project"
  }
  expect_failures = [var.project_id]
}

run "region_a_zone" {
  command = plan
  variables {
    region = "us-central1-a"
  }
  expect_failures = [var.region]
}

run "image_without_registry" {
  command = plan
  variables {
    image = "functions"
  }
  expect_failures = [var.image]
}

run "systems_unknown" {
  command = plan
  variables {
    systems = ["signup", "shop-typo"]
  }
  expect_failures = [var.systems]
}

run "systems_none" {
  command = plan
  variables {
    systems = []
  }
  expect_failures = [var.systems]
}

run "names_prefix_without_hyphen" {
  command = plan
  variables {
    names_prefix = "staging"
  }
  expect_failures = [var.names_prefix]
}

run "names_prefix_too_long" {
  command = plan
  variables {
    names_prefix = "a-rather-long-one-"
  }
  expect_failures = [var.names_prefix]
}

run "labels_upper_case" {
  command = plan
  variables {
    labels = { Team = "x" }
  }
  expect_failures = [var.labels]
}

run "environment_unknown_service" {
  command = plan
  variables {
    environment = { mail-service = {} }
  }
  expect_failures = [var.environment]
}

run "environment_overrides_ours" {
  command = plan
  variables {
    environment = { email-service = { PUSH_AUTH = "none" } }
  }
  expect_failures = [var.environment]
}

run "environment_holds_a_secret" {
  command = plan
  variables {
    environment = { billing-service = { STRIPE_SECRET_KEY = "sk" } }
  }
  expect_failures = [var.environment]
}

run "secrets_unknown" {
  command = plan
  variables {
    secrets = { stripe = "sk" }
  }
  expect_failures = [var.secrets]
}

run "secrets_empty" {
  command = plan
  variables {
    secrets = { stripe-secret-key = "" }
  }
  expect_failures = [var.secrets]
}

run "secrets_present_unknown" {
  command = plan
  variables {
    secrets_present = ["mail"]
  }
  expect_failures = [var.secrets_present]
}

run "concurrency_zero" {
  command = plan
  variables {
    concurrency = 0
  }
  expect_failures = [var.concurrency]
}

run "min_instances_above_max" {
  command = plan
  variables {
    min_instances = { user-service = 11 }
  }
  expect_failures = [var.min_instances]
}

run "min_instances_unknown_service" {
  command = plan
  variables {
    min_instances = { web = 1 }
  }
  expect_failures = [var.min_instances]
}

run "max_instances_zero" {
  command = plan
  variables {
    max_instances = 0
  }
  expect_failures = [var.max_instances]
}

run "cpu_half" {
  command = plan
  variables {
    cpu = "0.5"
  }
  expect_failures = [var.cpu]
}

run "memory_without_unit" {
  command = plan
  variables {
    memory = "512"
  }
  expect_failures = [var.memory]
}

run "notification_email_not_an_address" {
  command = plan
  variables {
    notification_email = "me"
  }
  expect_failures = [var.notification_email]
}

run "notification_channels_not_an_id" {
  command = plan
  variables {
    notification_channels = ["12345"]
  }
  expect_failures = [var.notification_channels]
}

run "backlog_alert_seconds_out_of_range" {
  command = plan
  variables {
    backlog_alert_seconds = 10
  }
  expect_failures = [var.backlog_alert_seconds]
}

run "error_alert_share_out_of_range" {
  command = plan
  variables {
    error_alert_share = 10
  }
  expect_failures = [var.error_alert_share]
}
