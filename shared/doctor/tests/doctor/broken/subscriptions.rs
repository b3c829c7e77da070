//! Plans and states with broken subscriptions.

use serde_json::json;

use super::{CRM, Case, HOLDER, RELAY, env, values};

pub(crate) fn subscriptions() -> Vec<Case> {
    vec![
        (
            |input| values(input, CRM)["topic"] = json!("_deleted-topic_"),
            &["subscription-topic: staging-crm-service-user-events is a subscription to _deleted-topic_"],
        ),
        (
            |input| values(input, CRM)["filter"] = json!(null),
            &["subscription-filter: the filter of staging-crm-service-user-events is ``"],
        ),
        (
            |input| values(input, CRM)["ack_deadline_seconds"] = json!(20),
            &[
                "ack-deadline: the ack deadline of staging-crm-service-user-events (20 s) is not longer than the lease (20 s)",
            ],
        ),
        (
            |input| values(input, CRM)["retry_policy"] = json!([]),
            &["retry-policy: staging-crm-service-user-events redelivers without a backoff"],
        ),
        (
            |input| values(input, CRM)["retry_policy"][0]["maximum_backoff"] = json!("60s"),
            &["retry-policy: staging-crm-service-user-events redelivers after 10 to 60 s"],
        ),
        (
            |input| values(input, CRM)["dead_letter_policy"][0]["max_delivery_attempts"] = json!(5),
            &["retry-policy: staging-crm-service-user-events gives up after 5 deliveries"],
        ),
        (
            |input| values(input, CRM)["message_retention_duration"] = json!("2678400s"),
            &["retention: the subscription staging-crm-service-user-events keeps messages for 2678400 s"],
        ),
        (
            |input| {
                values(input, "google_pubsub_topic.events[\"user-events\"]")["message_retention_duration"] =
                    json!(null);
            },
            &["retention: the topic staging-user-events keeps messages for 0 s"],
        ),
        (
            |input| values(input, CRM)["expiration_policy"] = json!([]),
            &[
                "expiring-subscription: the subscription staging-crm-service-user-events expires when it is unused",
            ],
        ),
        (
            |input| values(input, HOLDER)["expiration_policy"][0]["ttl"] = json!("2678400s"),
            &[
                "expiring-subscription: the subscription staging-crm-service-dead-letter expires when it is unused",
            ],
        ),
        (
            |input| values(input, CRM)["push_config"] = json!([]),
            &["push-endpoint: staging-crm-service-user-events has no push endpoint"],
        ),
        (
            |input| {
                values(input, CRM)["push_config"][0]["push_endpoint"] = json!("https://elsewhere.example/")
            },
            &["push-endpoint: staging-crm-service-user-events pushes to https://elsewhere.example/"],
        ),
        (
            |input| values(input, CRM)["push_config"][0]["oidc_token"] = json!([]),
            &["push-token: staging-crm-service-user-events delivers to staging-crm-service without a token"],
        ),
        (
            |input| values(input, CRM)["push_config"][0]["oidc_token"][0]["audience"] = json!("other"),
            &[
                "push-token: the tokens of staging-crm-service-user-events are for other, which is not a custom audience of staging-crm-service",
            ],
        ),
        (
            |input| {
                *env(input, "user-service", "PUSH_AUDIENCE") = json!("user-service.us-central1.demo-project");
            },
            &[
                "push-token: the tokens of staging-user-service-user-events are for staging-user-service.us-central1.demo-project, which is not PUSH_AUDIENCE of staging-user-service",
                "push-token: the tokens of staging-user-service-relay are for staging-user-service.us-central1.demo-project, which is not PUSH_AUDIENCE of staging-user-service",
            ],
        ),
        (
            |input| {
                values(input, RELAY)["http_target"][0]["oidc_token"][0]["service_account_email"] =
                    json!("scheduler@demo-project.iam.gserviceaccount.com");
            },
            &[
                "push-token: staging-user-service-relay delivers as scheduler@demo-project.iam.gserviceaccount.com, which is not PUSH_SERVICE_ACCOUNT of staging-user-service",
            ],
        ),
    ]
}
