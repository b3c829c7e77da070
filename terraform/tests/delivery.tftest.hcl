# The path of a message: the subscription, its dead letters, the grants of both, relay jobs, timing and receipts.

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

run "the_path_of_a_message" {
  command = plan

  # Subscriptions
  assert {
    condition     = length(google_pubsub_subscription.push) == length(local.subscriptions) && length(local.subscriptions) > 0
    error_message = "a subscription of the catalog is missing"
  }
  assert {
    condition     = alltrue([for name, push in google_pubsub_subscription.push : push.push_config[0].push_endpoint == "https://service.run.app/"])
    error_message = "a subscription does not push to its service"
  }
  assert {
    condition     = alltrue([for name, push in google_pubsub_subscription.push : push.filter == local.subscriptions[name].filter])
    error_message = "a subscription does not have its filter"
  }
  assert {
    condition     = alltrue([for push in google_pubsub_subscription.push : push.expiration_policy[0].ttl == ""])
    error_message = "a subscription expires"
  }
  assert {
    condition     = alltrue([for push in google_pubsub_subscription.push : push.retry_policy[0].minimum_backoff == "10s" && push.retry_policy[0].maximum_backoff == "600s"])
    error_message = "a subscription does not back off from 10 s to 600 s"
  }
  assert {
    condition     = alltrue([for push in google_pubsub_subscription.push : push.message_retention_duration == "604800s"])
    error_message = "a subscription does not keep its messages for seven days"
  }
  assert {
    condition     = alltrue([for topic in google_pubsub_topic.events : topic.message_retention_duration == "604800s"])
    error_message = "a topic does not keep its messages for seven days"
  }

  # Tokens
  assert {
    condition = alltrue([
      for name, push in google_pubsub_subscription.push :
      push.push_config[0].oidc_token[0].service_account_email == "${local.subscriptions[name].service}-push@demo-project.iam.gserviceaccount.com"
    ])
    error_message = "a subscription pushes with another identity than the delivery identity of its service"
  }
  assert {
    condition     = length(distinct([for push in google_pubsub_subscription.push : push.push_config[0].oidc_token[0].audience])) == length(distinct(values(local.subscriptions)[*].service))
    error_message = "two services share an audience, so each accepts the tokens of the other"
  }
  # Cloud Run checks the audience for a private service, so the service must declare it.
  assert {
    condition = alltrue([
      for name, push in google_pubsub_subscription.push :
      contains(google_cloud_run_v2_service.service[local.subscriptions[name].service].custom_audiences, push.push_config[0].oidc_token[0].audience)
      if !local.services[local.subscriptions[name].service].public
    ])
    error_message = "Cloud Run would refuse the audience of a push"
  }
  assert {
    condition = alltrue([
      for push in values(google_pubsub_subscription.push) : contains(
        [for grant in google_service_account_iam_member.agent_signs : grant.member if grant.role == "roles/iam.serviceAccountTokenCreator"],
        "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com",
      )
    ])
    error_message = "Pub/Sub may not sign the tokens of its pushes"
  }
  assert {
    condition     = toset(keys(google_service_account_iam_member.agent_signs)) == toset(values(local.subscriptions)[*].service)
    error_message = "Pub/Sub may not sign tokens for exactly the services with a subscription"
  }

  # Dead letters
  # The ids of topics are mocked, so these tests match a topic and its holder by name.
  assert {
    condition     = alltrue([for push in google_pubsub_subscription.push : length(push.dead_letter_policy) == 1 && push.dead_letter_policy[0].max_delivery_attempts == 100])
    error_message = "a subscription has no dead-letter policy"
  }
  assert {
    condition     = alltrue([for subscription in local.subscriptions : contains(keys(google_pubsub_topic.dead_letters), subscription.deadLetterTopic)])
    error_message = "a dead-letter topic is missing"
  }
  assert {
    condition     = toset(keys(google_pubsub_subscription.holder)) == toset(keys(google_pubsub_topic.dead_letters))
    error_message = "a dead-letter topic has no holder, so its messages are lost"
  }
  assert {
    condition     = alltrue([for name, holder in google_pubsub_subscription.holder : holder.name == google_pubsub_topic.dead_letters[name].name])
    error_message = "a holder and its topic have different names"
  }
  assert {
    condition     = alltrue([for holder in google_pubsub_subscription.holder : holder.expiration_policy[0].ttl == "" && holder.message_retention_duration == "2678400s" && length(holder.push_config) == 0])
    error_message = "a holder expires, does not keep messages for 31 days, or pushes"
  }
  # Without these two grants, Pub/Sub never publishes a dead letter.
  assert {
    condition = alltrue([
      for name, topic in google_pubsub_topic.dead_letters : anytrue([
        for grant in google_pubsub_topic_iam_member.agent_parks : grant.topic == topic.name && grant.role == "roles/pubsub.publisher"
        && grant.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
      ])
    ])
    error_message = "Pub/Sub may not publish to a dead-letter topic"
  }
  assert {
    condition = alltrue([
      for name, push in google_pubsub_subscription.push : anytrue([
        for grant in google_pubsub_subscription_iam_member.agent_acknowledges : grant.subscription == push.name && grant.role == "roles/pubsub.subscriber"
        && grant.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
      ])
    ])
    error_message = "Pub/Sub may not acknowledge a message that it has dead-lettered"
  }

  # Relays
  assert {
    condition     = toset(keys(google_cloud_scheduler_job.relay)) == toset([for service in local.catalog.services : service.name if service.relays])
    error_message = "the relay jobs are not exactly those of the services that publish and accept commands"
  }
  assert {
    condition = alltrue([
      for name, job in google_cloud_scheduler_job.relay :
      job.http_target[0].uri == "https://service.run.app/relay" && job.http_target[0].http_method == "POST"
      && job.http_target[0].oidc_token[0].service_account_email == "${name}-push@demo-project.iam.gserviceaccount.com"
      && job.http_target[0].oidc_token[0].audience == output.push[name].audience
    ])
    error_message = "a relay job does not reach its service with the token that the service expects"
  }

  # Timing
  assert {
    condition = alltrue([
      for name, push in google_pubsub_subscription.push :
      local.timing.handlerSeconds < local.timing.leaseSeconds
      && local.timing.leaseSeconds < push.ack_deadline_seconds
      && push.ack_deadline_seconds <= tonumber(trimsuffix(google_cloud_run_v2_service.service[local.subscriptions[name].service].template[0].timeout, "s"))
    ])
    error_message = "handler < lease < ack deadline <= request timeout does not hold for a subscription and its service"
  }

  # Receipts
  assert {
    condition     = length(google_firestore_field.receipts_expire.ttl_config) == 1 && google_firestore_field.receipts_expire.collection == "receipts" && google_firestore_field.receipts_expire.field == "expireAt"
    error_message = "receipts do not expire by expireAt"
  }
  assert {
    condition     = length(google_firestore_field.receipts_expire.index_config) == 1 && try(length(google_firestore_field.receipts_expire.index_config[0].indexes), 0) == 0
    error_message = "the expiry of receipts has an index"
  }
  assert {
    condition     = setunion(keys(google_firestore_field.receipts_unindexed), [local.receipts.ttlField]) == toset(local.receipts.unindexed)
    error_message = "a field of receipts that no query uses has an index"
  }
}
