# Which workflows may do what.

mock_provider "google" {
  override_during = plan
  mock_resource "google_iam_workload_identity_pool" {
    defaults = { name = "projects/1/locations/global/workloadIdentityPools/github-pool" }
  }
  mock_resource "google_service_account" {
    defaults = { name = "projects/demo-project/serviceAccounts/account@demo-project.iam.gserviceaccount.com" }
  }
}

variables {
  project_id   = "demo-project"
  repository   = "acme/shop"
  state_bucket = "demo-project-functions-state"
}

run "only_this_repository" {
  command = plan

  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_condition == "assertion.repository == 'acme/shop' && (assertion.event_name == 'pull_request' || (has(assertion.environment) && assertion.environment == 'production'))"
    error_message = "another repository gets a token, or a deployment without the approval of its environment"
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.oidc[0].issuer_uri == "https://token.actions.githubusercontent.com"
    error_message = "the tokens are not those of GitHub Actions"
  }
}

run "a_repository_of_the_same_name_is_another_one" {
  command = plan
  variables {
    repository_id = "4711"
  }

  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_condition == "assertion.repository == 'acme/shop' && assertion.repository_id == '4711' && (assertion.event_name == 'pull_request' || (has(assertion.environment) && assertion.environment == 'production'))"
    error_message = "the number of the repository is not compared"
  }
}

run "only_the_branch_deploys" {
  command = plan

  assert {
    condition = toset([for grant in google_service_account_iam_member.deploy : "${grant.role} ${grant.member}"]) == toset([
      for event in ["push", "workflow_dispatch"] :
      "roles/iam.workloadIdentityUser principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/github-pool/attribute.run/${event}:refs/heads/main"
    ])
    error_message = "other runs than those of the branch may deploy"
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_mapping["attribute.run"] == "assertion.event_name + ':' + assertion.ref"
    error_message = "the grants compare another attribute than the event and the branch"
  }
  assert {
    condition     = endswith(google_service_account_iam_member.plan.member, "/attribute.event/pull_request") && google_iam_workload_identity_pool_provider.github.attribute_mapping["attribute.event"] == "assertion.event_name"
    error_message = "other runs than those of pull requests may plan"
  }
}

run "exactly_the_needed_roles" {
  command = plan

  assert {
    condition     = alltrue([for grant in concat(values(google_project_iam_member.deployer), [google_project_iam_member.grants]) : grant.member == "serviceAccount:github-deploy@demo-project.iam.gserviceaccount.com"])
    error_message = "another account than that of the deployments has their roles"
  }
  assert {
    condition     = length(setintersection([for grant in concat(values(google_project_iam_member.deployer), values(google_project_iam_member.planner)) : grant.role], ["roles/owner", "roles/editor", "roles/viewer", "roles/resourcemanager.projectIamAdmin"])) == 0
    error_message = "an account has a broad role"
  }
  assert {
    condition     = google_project_iam_member.grants.condition[0].expression == "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/datastore.user', 'roles/datastore.viewer', 'roles/logging.logWriter', 'roles/monitoring.viewer'])"
    error_message = "a deployment may grant itself any role"
  }
  # A plan reads no documents, no logs and no values of secrets.
  assert {
    condition = toset(concat(
      [for grant in google_project_iam_member.planner : "${grant.role} ${grant.member}"],
      ["${google_storage_bucket_iam_member.planner_reads_state.role} ${google_storage_bucket_iam_member.planner_reads_state.member}"],
    )) == toset([for role in ["browser", "secretmanager.viewer", "storage.objectViewer"] : "roles/${role} serviceAccount:github-plan@demo-project.iam.gserviceaccount.com"])
    error_message = "a plan for a pull request may do more than read the state and the names of secrets"
  }
}

# The bucket can be in another project.
run "a_deployment_writes_the_state" {
  command = plan

  assert {
    condition = toset([for grant in google_storage_bucket_iam_member.deployer_writes_state : "${grant.bucket} ${grant.role} ${grant.member}"]) == toset([
      for role in ["objectAdmin", "legacyBucketReader"] : "demo-project-functions-state roles/storage.${role} serviceAccount:github-deploy@demo-project.iam.gserviceaccount.com"
    ])
    error_message = "a deployment may not write the state"
  }
}

run "a_domain_needs_another_role" {
  command = plan
  variables {
    domain = "api.example.com"
  }

  assert {
    condition     = google_project_iam_member.deployer["compute.loadBalancerAdmin"].role == "roles/compute.loadBalancerAdmin"
    error_message = "a deployment may not create the load balancer of the domain"
  }
}

run "rejects_a_url_as_repository" {
  command = plan
  variables {
    repository = "https://github.com/acme/shop"
  }
  expect_failures = [var.repository]
}

# A quote would end the condition early.
run "rejects_a_quote_in_the_repository" {
  command = plan
  variables {
    repository = "acme/shop' || true || '"
  }
  expect_failures = [var.repository]
}

run "rejects_a_name_as_repository_id" {
  command = plan
  variables {
    repository_id = "shop"
  }
  expect_failures = [var.repository_id]
}
