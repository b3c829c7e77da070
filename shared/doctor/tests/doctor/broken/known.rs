//! Cases for plans alone, or for states alone.

use serde_json::json;

use super::{CRM, Case, add, expressions, timers::alerts, values};

/// The plan of a first deployment knows these values only as references.
pub(crate) fn plans() -> Vec<Case> {
    vec![
        (
            |input| {
                expressions(input, "google_pubsub_subscription.push")["push_config"][0]["push_endpoint"]["references"] =
                    json!([
                        "google_cloud_run_v2_service.service[\"user-service\"].uri",
                        "google_cloud_run_v2_service.service"
                    ]);
            },
            &["push-endpoint: staging-crm-service-user-events pushes to staging-user-service"],
        ),
        (
            |input| {
                expressions(input, "google_pubsub_subscription.push")["dead_letter_policy"][0]["dead_letter_topic"]
                    ["references"] =
                    json!(["google_pubsub_topic.dead_letters[\"user-service-dead-letter\"].id"]);
            },
            &[
                "dead-letter-policy: staging-crm-service-user-events sends dead letters to staging-user-service-dead-letter",
            ],
        ),
        (
            |input| {
                expressions(input, "google_pubsub_subscription.holder")["topic"]["references"] =
                    json!(["local.topic"])
            },
            &[
                "dead-letter-holder: no subscription keeps the messages of staging-user-service-dead-letter",
                "dead-letter-holder: no subscription keeps the messages of staging-crm-service-dead-letter",
            ],
        ),
        (
            |input| {
                expressions(input, "google_service_account_iam_member.agent_signs")["service_account_id"]["references"] =
                    json!(["google_service_account.service", "each.key"]);
            },
            &[
                "grant-sign: Pub/Sub may not sign tokens as staging-crm-service-push@demo-project.iam.gserviceaccount.com",
                "grant-sign: Pub/Sub may not sign tokens as staging-user-service-push@demo-project.iam.gserviceaccount.com",
            ],
        ),
        (
            |input| {
                expressions(input, "google_pubsub_subscription_iam_member.agent_acknowledges")["member"]["references"] =
                    json!(["google_service_account.service", "each.key"]);
            },
            &[
                "grant-acknowledge: Pub/Sub may not acknowledge messages of staging-user-service-user-events",
                "grant-acknowledge: Pub/Sub may not acknowledge messages of staging-crm-service-user-events",
            ],
        ),
        // Without a value, the variable means all systems.
        (
            |input| input["variables"]["systems"]["value"] = json!(null),
            &[
                "missing: the service staging-audit-service is missing",
                "missing: the subscription staging-audit-service-user-events is missing",
                "missing: the dead-letter topic staging-audit-service-dead-letter is missing",
            ],
        ),
    ]
}

/// Only a state knows URLs and the names of queues.
pub(crate) fn states() -> Vec<Case> {
    let urls: Vec<Case> = vec![
        (
            |input| {
                let user =
                    values(input, "google_cloud_run_v2_service.service[\"user-service\"]")["uri"].clone();
                values(input, CRM)["push_config"][0]["push_endpoint"] =
                    json!(format!("{}/", user.as_str().unwrap_or_default()));
            },
            &["push-endpoint: staging-crm-service-user-events pushes to / of staging-user-service"],
        ),
        (
            |input| {
                let crm =
                    values(input, "google_cloud_run_v2_service.service[\"crm-service\"]")["uri"].clone();
                values(input, CRM)["push_config"][0]["push_endpoint"] =
                    json!(format!("{}/push", crm.as_str().unwrap_or_default()));
            },
            &["push-endpoint: staging-crm-service-user-events pushes to /push of staging-crm-service"],
        ),
        (
            |input| {
                let mut copy = values(input, CRM).clone();
                copy["name"] = json!("copy");
                add(input, "google_pubsub_subscription", copy);
            },
            &["second-delivery: copy pushes to staging-crm-service, and the catalog does not declare it"],
        ),
    ];
    [urls, alerts()].concat()
}
