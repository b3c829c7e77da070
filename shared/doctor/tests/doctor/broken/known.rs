//! What only a plan or only a state can tell.

use serde_json::json;

use super::{Broken, CRM, expressions, values};

/// What a first plan knows by reference only.
pub(crate) fn plans() -> Vec<Broken> {
    vec![
        (
            |it| {
                expressions(it, "google_pubsub_subscription.push")["push_config"][0]["push_endpoint"]["references"] =
                    json!([
                        "google_cloud_run_v2_service.service[\"user-service\"].uri",
                        "google_cloud_run_v2_service.service"
                    ]);
            },
            &["push-endpoint: staging-crm-service-user-events pushes to staging-user-service"],
        ),
        (
            |it| {
                expressions(it, "google_pubsub_subscription.push")["dead_letter_policy"][0]["dead_letter_topic"]
                    ["references"] =
                    json!(["google_pubsub_topic.dead_letters[\"user-service-dead-letter\"].id"]);
            },
            &[
                "dead-letter-policy: staging-crm-service-user-events parks in staging-user-service-dead-letter",
            ],
        ),
        (
            |it| {
                expressions(it, "google_pubsub_subscription.holder")["topic"]["references"] =
                    json!(["local.topic"])
            },
            &[
                "dead-letter-holder: no subscription holds the messages of staging-user-service-dead-letter",
                "dead-letter-holder: no subscription holds the messages of staging-crm-service-dead-letter",
            ],
        ),
        (
            |it| {
                expressions(it, "google_service_account_iam_member.agent_signs")["service_account_id"]["references"] =
                    json!(["google_service_account.service", "each.key"]);
            },
            &[
                "grant-sign: Pub/Sub may not sign tokens as staging-crm-service-push@demo-project.iam.gserviceaccount.com",
                "grant-sign: Pub/Sub may not sign tokens as staging-user-service-push@demo-project.iam.gserviceaccount.com",
            ],
        ),
        (
            |it| {
                expressions(it, "google_pubsub_subscription_iam_member.agent_acknowledges")["member"]["references"] =
                    json!(["google_service_account.service", "each.key"]);
            },
            &[
                "grant-acknowledge: Pub/Sub may not acknowledge in staging-user-service-user-events",
                "grant-acknowledge: Pub/Sub may not acknowledge in staging-crm-service-user-events",
            ],
        ),
        // All systems.
        (
            |it| it["variables"]["systems"]["value"] = json!(null),
            &[
                "missing: the service staging-audit-service is missing",
                "missing: the subscription staging-audit-service-user-events is missing",
                "missing: the dead-letter topic staging-audit-service-dead-letter is missing",
            ],
        ),
    ]
}

/// What only a state knows.
pub(crate) fn states() -> Vec<Broken> {
    vec![
        (
            |it| {
                let user = values(it, "google_cloud_run_v2_service.service[\"user-service\"]")["uri"].clone();
                values(it, CRM)["push_config"][0]["push_endpoint"] =
                    json!(format!("{}/", user.as_str().unwrap_or_default()));
            },
            &["push-endpoint: staging-crm-service-user-events pushes to / of staging-user-service"],
        ),
        (
            |it| {
                let crm = values(it, "google_cloud_run_v2_service.service[\"crm-service\"]")["uri"].clone();
                values(it, CRM)["push_config"][0]["push_endpoint"] =
                    json!(format!("{}/push", crm.as_str().unwrap_or_default()));
            },
            &["push-endpoint: staging-crm-service-user-events pushes to /push of staging-crm-service"],
        ),
    ]
}
