# Grants. The tests compare the addresses of members, not references, because the address decides who has a grant.

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

run "grants_and_stand_ins" {
  command = plan

  # Invocation grants
  assert {
    condition     = alltrue([for grant in google_cloud_run_v2_service_iam_member.delivery : !contains(["allUsers", "allAuthenticatedUsers"], grant.member)])
    error_message = "a service has a public invoker, which organizations with domain-restricted sharing refuse"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : (service.ingress == "INGRESS_TRAFFIC_ALL") == local.services[name].public])
    error_message = "a private service can be reached from the internet, or a public one cannot"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.invoker_iam_disabled == local.services[name].public])
    error_message = "a public service does not admit everyone, or a private service does"
  }
  assert {
    condition = alltrue([
      for service in distinct(values(local.subscriptions)[*].service) : length([
        for grant in google_cloud_run_v2_service_iam_member.delivery : grant
        if grant.name == service && grant.role == "roles/run.invoker" && grant.member == "serviceAccount:${service}-push@demo-project.iam.gserviceaccount.com"
      ]) == 1
    ])
    error_message = "a service does not admit its own delivery identity"
  }
  # Each delivery identity may invoke only its own service.
  assert {
    condition     = length(distinct([for grant in google_cloud_run_v2_service_iam_member.delivery : grant.member])) == length(google_cloud_run_v2_service_iam_member.delivery)
    error_message = "a delivery identity may invoke two services"
  }
  assert {
    condition = alltrue([
      for name, service in local.services :
      contains([for env in google_cloud_run_v2_service.service[name].template[0].containers[0].env : "${env.name}=${coalesce(env.value, "-")}"], "PUSH_AUTH=${service.public ? "oidc" : "iam"}")
    ])
    error_message = "a public service does not check tokens itself, or a private service checks tokens whose signature Cloud Run has removed"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.custom_audiences == null ? local.services[name].public : !local.services[name].public])
    error_message = "a public service has a custom audience, or a private service has none"
  }

  # Publishing grants
  assert {
    condition = alltrue([
      for name, service in local.services :
      toset([
        for grant in concat(values(google_pubsub_topic_iam_member.publisher), values(google_pubsub_topic_iam_member.rejecter), values(google_pubsub_topic_iam_member.agent_parks)) :
        grant.topic if grant.member == "serviceAccount:${name}@demo-project.iam.gserviceaccount.com"
      ]) == toset(concat(service.publishesTo, service.subscriptions[*].deadLetterTopic))
    ])
    error_message = "a service may not publish to exactly its declared topics and its dead-letter topic"
  }
  assert {
    condition     = alltrue([for grant in concat(values(google_pubsub_topic_iam_member.publisher), values(google_pubsub_topic_iam_member.rejecter)) : grant.role == "roles/pubsub.publisher"])
    error_message = "a service may do more with a topic than publish"
  }

  # Document and secret grants
  assert {
    condition = alltrue([
      for name in keys(local.services) : [
        for grant in google_project_iam_member.documents : grant.role if grant.member == "serviceAccount:${name}@demo-project.iam.gserviceaccount.com"
      ] == ["roles/datastore.user"]
    ])
    error_message = "a service has other roles on the project than roles/datastore.user"
  }
  assert {
    condition     = alltrue([for grant in google_project_iam_member.documents : grant.condition[0].expression == "resource.name == \"projects/demo-project/databases/(default)\""])
    error_message = "a service may use a database of another copy"
  }
  assert {
    condition = alltrue([
      for name, service in local.services :
      toset([for grant in google_secret_manager_secret_iam_member.reader : grant.secret_id if grant.member == "serviceAccount:${name}@demo-project.iam.gserviceaccount.com"]) == toset(service.secrets[*].secret)
    ])
    error_message = "a service may not read exactly its own secrets"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.template[0].service_account == "${name}@demo-project.iam.gserviceaccount.com"])
    error_message = "a service runs as another identity than its own"
  }

  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.secret : length(secret.replication[0].auto) == 1])
    error_message = "the secrets are not where Google chooses"
  }
  # Services start with stand ins
  assert {
    condition     = length(google_secret_manager_secret_version.value) == 0 && length(google_secret_manager_secret.secret) > 0
    error_message = "without values, the secrets do not exist, or have versions"
  }
  assert {
    condition     = alltrue([for service in google_cloud_run_v2_service.service : alltrue([for env in service.template[0].containers[0].env : length(env.value_source) == 0 || startswith(env.name, "AUTH_")])])
    error_message = "a service mounts a secret without a value, and would not start"
  }
  assert {
    condition = alltrue(flatten([
      for service in local.catalog.services : [
        for use in service.secrets :
        startswith(use.env, "AUTH_") || contains([for env in google_cloud_run_v2_service.service[service.name].template[0].containers[0].env : "${env.name}=${coalesce(env.value, "-")}"], use.secret == "mail-url" ? "MAIL=local" : "PAYMENTS=local")
      ]
    ]))
    error_message = "a service without its secret does not know that its stand-in was chosen"
  }

  # Documents that expire are deleted
  assert {
    condition     = toset([for field in google_firestore_field.documents_expire : "${field.collection}.${field.field}"]) == toset(["familiar.expireAt", "revoked.expireAt", "sessions.expireAt", "throttles.expireAt"])
    error_message = "sessions, throttles or other documents are never deleted"
  }
}

run "secrets_with_values_are_mounted" {
  command = plan

  variables {
    mail            = null
    payments        = null
    secrets         = { stripe-secret-key = "sk_test_1" }
    secrets_present = ["mail-url", "auth-jwks", "auth-signing-key"]
    # An organization may forbid that Google chooses.
    secret_locations = ["europe-west1", "europe-west4"]
    environment      = { for name in ["email-service", "cancel-mail-service", "invoice-mail-service", "ticket-payment-service"] : name => { MAIL_FROM = "us@example.com" } }
  }

  assert {
    condition = toset(flatten([
      for name, service in google_cloud_run_v2_service.service : [
        for env in service.template[0].containers[0].env :
        "${name} ${env.name}=${env.value_source[0].secret_key_ref[0].secret}:${env.value_source[0].secret_key_ref[0].version}" if length(env.value_source) > 0
      ]
      ])) == toset(flatten([
      for service in local.catalog.services : [
        for use in service.secrets :
        "${service.name} ${use.env}=${use.secret}:${use.secret == "stripe-secret-key" ? "7" : "latest"}"
      ]
    ]))
    error_message = "the services do not mount exactly their own secrets"
  }

  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.secret : length(secret.replication[0].auto) == 0 && join(" ", sort(secret.replication[0].user_managed[0].replicas[*].location)) == "europe-west1 europe-west4"])
    error_message = "the secrets are not in the chosen regions"
  }
  # A secret outlives its variable
  assert {
    condition     = alltrue([for version in google_secret_manager_secret_version.value : version.deletion_policy == "ABANDON"])
    error_message = "a later plan without the variable deletes the value of a secret"
  }
}

run "rejects_mail_without_secret_or_choice" {
  command = plan
  plan_options {
    target = [terraform_data.secrets]
  }
  variables {
    mail = null
  }
  expect_failures = [terraform_data.secrets]
}

run "rejects_payments_without_secret_or_choice" {
  command = plan
  plan_options {
    target = [terraform_data.secrets]
  }
  variables {
    payments = null
  }
  expect_failures = [terraform_data.secrets]
}

run "rejects_a_mail_secret_without_a_sender_for_each_service" {
  command = plan
  plan_options {
    target = [terraform_data.secrets]
  }
  variables {
    mail        = null
    secrets     = { mail-url = "smtps://mail.example.com" }
    environment = { email-service = { MAIL_FROM = "us@example.com" } }
  }
  expect_failures = [terraform_data.secrets]
}

run "rejects_a_secret_with_its_stand_in" {
  command = plan
  plan_options {
    target = [terraform_data.secrets]
  }
  variables {
    secrets = { stripe-secret-key = "sk_test_1" }
  }
  expect_failures = [terraform_data.secrets]
}

run "operators_may_call_private_routes" {
  command = plan

  variables {
    operators = ["group:shop@example.com"]
  }

  assert {
    condition = toset([for grant in google_cloud_run_v2_service_iam_member.operator : "${grant.name} ${grant.role} ${grant.member}"]) == toset([
      for service in local.catalog.services : "${service.name} roles/run.invoker group:shop@example.com" if service.forOperators
    ])
    error_message = "the operators may not invoke exactly the private services with routes"
  }
  assert {
    condition = alltrue([
      for name, service in google_cloud_run_v2_service.service :
      (service.ingress == "INGRESS_TRAFFIC_ALL") == (local.services[name].public || local.services[name].forOperators)
    ])
    error_message = "an operator cannot reach a private service with routes, or a service without routes can be reached"
  }
  assert {
    condition     = alltrue([for name, service in google_cloud_run_v2_service.service : service.invoker_iam_disabled == local.services[name].public])
    error_message = "operators make a private service public"
  }
  assert {
    condition = toset([for grant in google_pubsub_subscription_iam_member.operator : "${grant.subscription} ${grant.role} ${grant.member}"]) == toset([
      for holder in google_pubsub_subscription.holder : "${holder.name} roles/pubsub.subscriber group:shop@example.com"
    ])
    error_message = "the operators may not read exactly the dead letters"
  }
  assert {
    condition = toset([for grant in google_pubsub_topic_iam_member.operator : "${grant.topic} ${grant.role} ${grant.member}"]) == toset([
      for push in local.subscriptions : "${google_pubsub_topic.events[push.topic].name} roles/pubsub.publisher group:shop@example.com"
    ])
    error_message = "the operators may not replay to exactly the topics that dead letters come from"
  }
  assert {
    condition = [for grant in google_project_iam_member.operator_reads : "${grant.role} ${grant.member} ${grant.condition[0].expression}"] == [
      "roles/datastore.viewer group:shop@example.com resource.name == \"projects/${var.project_id}/databases/${local.database}\""
    ]
    error_message = "the operators may do more with the documents than read those of this copy"
  }
  assert {
    condition     = [for grant in google_project_iam_member.operator_monitors : "${grant.role} ${grant.member}"] == ["roles/monitoring.viewer group:shop@example.com"]
    error_message = "the operators cannot see how many messages wait"
  }
}

run "without_operators_nobody_may_repair_dead_letters" {
  command = plan

  assert {
    condition = (
      length(google_pubsub_subscription_iam_member.operator) == 0
      && length(google_pubsub_topic_iam_member.operator) == 0
      && length(google_project_iam_member.operator_reads) == 0
      && length(google_project_iam_member.operator_monitors) == 0
    )
    error_message = "somebody may repair dead letters who is not named"
  }
}

run "a_new_pair_of_keys_is_stored_and_mounted" {
  command = plan

  variables {
    secrets_present = []
    new_keys        = { auth-signing-key = "a private key", auth-jwks = "public keys" }
  }

  assert {
    condition     = toset(keys(google_secret_manager_secret_version.value)) == toset(["auth-jwks", "auth-signing-key"])
    error_message = "the new keys are not stored"
  }
  assert {
    condition = toset(flatten([
      for name, service in google_cloud_run_v2_service.service : [for env in service.template[0].containers[0].env : "${name} ${env.name}" if startswith(env.name, "AUTH_")]
      ])) == toset(concat(["auth-service AUTH_SIGNING_KEY"], flatten([
        for name, service in local.services : ["${name} AUTH_ISSUER", "${name} AUTH_JWKS"] if try(service.signedIn, false)
    ])))
    error_message = "not exactly the services with sign-in know the issuer and the public keys, and auth-service the private key"
  }
  assert {
    condition     = length(distinct([for name, variables in local.environment : variables.AUTH_ISSUER if contains(keys(variables), "AUTH_ISSUER")])) == 1
    error_message = "two services expect different issuers"
  }
}

run "rejects_services_without_keys" {
  command = plan
  variables {
    secrets_present = ["auth-jwks"]
  }
  expect_failures = [terraform_data.secrets]
}

run "rejects_half_a_pair_of_new_keys" {
  command = plan
  variables {
    new_keys = { auth-jwks = "public keys" }
  }
  expect_failures = [var.new_keys]
}
