//! Subscriptions, of a plan or a state.

use serde_json::json;

use super::{Broken, CRM, HOLDER, RELAY, env, values};

pub(crate) fn subscriptions() -> Vec<Broken> {
    vec![
        (
            |it| values(it, CRM)["topic"] = json!("_deleted-topic_"),
            &["subscription-topic: staging-crm-service-user-events is a subscription to _deleted-topic_"],
        ),
        (
            |it| values(it, CRM)["filter"] = json!(null),
            &["subscription-filter: the filter of staging-crm-service-user-events is ``"],
        ),
        (
            |it| values(it, CRM)["ack_deadline_seconds"] = json!(20),
            &[
                "ack-deadline: the ack deadline of staging-crm-service-user-events (20 s) is not longer than the lease (20 s)",
            ],
        ),
        (
            |it| values(it, CRM)["retry_policy"] = json!([]),
            &["retry-policy: staging-crm-service-user-events redelivers at once"],
        ),
        (
            |it| values(it, CRM)["retry_policy"][0]["maximum_backoff"] = json!("60s"),
            &["retry-policy: staging-crm-service-user-events redelivers after 10 to 60 s"],
        ),
        (
            |it| values(it, CRM)["dead_letter_policy"][0]["max_delivery_attempts"] = json!(5),
            &["retry-policy: staging-crm-service-user-events gives up after 5 deliveries"],
        ),
        (
            |it| values(it, CRM)["message_retention_duration"] = json!("2678400s"),
            &["retention: the subscription staging-crm-service-user-events keeps messages for 2678400 s"],
        ),
        (
            |it| {
                values(it, "google_pubsub_topic.events[\"user-events\"]")["message_retention_duration"] =
                    json!(null);
            },
            &["retention: the topic staging-user-events keeps messages for 0 s"],
        ),
        (
            |it| values(it, CRM)["expiration_policy"] = json!([]),
            &[
                "expiring-subscription: the subscription staging-crm-service-user-events expires when it has not been used for a while",
            ],
        ),
        (
            |it| values(it, HOLDER)["expiration_policy"][0]["ttl"] = json!("2678400s"),
            &[
                "expiring-subscription: the subscription staging-crm-service-dead-letter expires when it has not been used for a while",
            ],
        ),
        (
            |it| values(it, CRM)["push_config"] = json!([]),
            &["push-endpoint: staging-crm-service-user-events pushes to nobody"],
        ),
        (
            |it| values(it, CRM)["push_config"][0]["push_endpoint"] = json!("https://elsewhere.example/"),
            &["push-endpoint: staging-crm-service-user-events pushes to https://elsewhere.example/"],
        ),
        (
            |it| values(it, CRM)["push_config"][0]["oidc_token"] = json!([]),
            &["push-token: staging-crm-service-user-events delivers to staging-crm-service without a token"],
        ),
        (
            |it| values(it, CRM)["push_config"][0]["oidc_token"][0]["audience"] = json!("other"),
            &[
                "push-token: the tokens of staging-crm-service-user-events are for other, which is not a custom audience of staging-crm-service",
            ],
        ),
        (
            |it| {
                *env(it, "user-service", "PUSH_AUDIENCE") = json!("user-service.us-central1.demo-project");
            },
            &[
                "push-token: the tokens of staging-user-service-user-events are for staging-user-service.us-central1.demo-project, which is not PUSH_AUDIENCE of staging-user-service",
                "push-token: the tokens of staging-user-service-relay are for staging-user-service.us-central1.demo-project, which is not PUSH_AUDIENCE of staging-user-service",
            ],
        ),
        (
            |it| {
                values(it, RELAY)["http_target"][0]["oidc_token"][0]["service_account_email"] =
                    json!("scheduler@demo-project.iam.gserviceaccount.com");
            },
            &[
                "push-token: staging-user-service-relay delivers as scheduler@demo-project.iam.gserviceaccount.com, which is not PUSH_SERVICE_ACCOUNT of staging-user-service",
            ],
        ),
    ]
}
