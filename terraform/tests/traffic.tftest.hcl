# The image of a service, and the shares of its revisions.

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

# Without the blocks, the provider would keep a split that somebody made by hand.
run "the_newest_revision_gets_all_traffic" {
  command = plan

  assert {
    condition = alltrue([
      for service in google_cloud_run_v2_service.service :
      [for share in service.traffic : "${share.type} ${share.percent}"] == ["TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST 100"]
    ])
    error_message = "the newest revision of a service does not get all traffic"
  }
  assert {
    condition     = alltrue([for image in values(output.images) : image == "us-central1-docker.pkg.dev/demo-project/functions/functions:1"])
    error_message = "a service runs another image"
  }
}

run "a_canary_and_an_own_image" {
  command = plan
  variables {
    # scripts/deploy passes what is deployed, and web has left the catalog since. email-service was rolled back.
    older_shares = { crm-service = { crm-service-00007-abc = 90 }, email-service = { email-service-00003-abc = 100 }, web = { web-1 = 90 } }
    images       = { crm-service = "registry.example/functions:2", web = "registry.example/web:1" }
  }

  assert {
    condition = [for share in google_cloud_run_v2_service.service["crm-service"].traffic : "${share.type} ${coalesce(share.revision, "-")} ${share.percent}"] == [
      "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION crm-service-00007-abc 90",
      "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST - 10",
    ]
    error_message = "the canary does not get its share, or the stable revision not the rest"
  }
  assert {
    condition     = [for share in google_cloud_run_v2_service.service["user-service"].traffic : share.percent] == [100]
    error_message = "a new service has no older revision, so its newest one must get all traffic"
  }
  assert {
    condition     = [for share in google_cloud_run_v2_service.service["email-service"].traffic : "${share.revision} ${share.percent}"] == ["email-service-00003-abc 100"]
    error_message = "a rollback ends"
  }

  # One service gets its own image
  assert {
    condition     = [for name, image in output.images : name if image == "registry.example/functions:2"] == ["crm-service"]
    error_message = "not exactly one service runs its own image"
  }

  # A removed service has no effect
  assert {
    condition     = toset(keys(output.images)) == toset(local.catalog.services[*].name)
    error_message = "a service exists that the catalog does not have"
  }
}
