//! Cases for plans alone, or for states alone.

use serde_json::{Value, json};

use super::{CRM, CRM_SERVICE, Case, RELAY, USER_SERVICE, add, expressions, values};

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
        // Another canary than the declared one: crm-service keeps more, and user-service has none.
        (
            |input| {
                declare_canary(input, 10);
                split(input, CRM_SERVICE, 5);
                split(input, USER_SERVICE, 10);
            },
            &[
                "traffic: warning: the newest revision of staging-user-service gets 10 % of the traffic",
                "traffic: warning: the newest revision of staging-crm-service gets 5 % of the traffic",
            ],
        ),
        (
            |input| {
                declare_canary(input, 10);
                split(input, CRM_SERVICE, 0);
            },
            &["traffic: the newest revision of staging-crm-service gets 0 % of the traffic"],
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

const UPTIME_ALERT: &str = "google_monitoring_alert_policy.uptime[\"user-service\"]";

/// A canary that the variables declare for crm-service.
pub(crate) fn declare_canary(plan: &mut Value, percent: u64) {
    plan["variables"]["older_shares"]["value"] =
        json!({ "crm-service": { "staging-crm-service-00007-abc": 100 - percent } });
}

/// Gives the newest revision a share of the traffic.
pub(crate) fn split(plan: &mut Value, service: &str, percent: u64) {
    values(plan, service)["traffic"] = json!([
        { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "staging-crm-service-00007-abc", "percent": 100 - percent },
        { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": percent }
    ]);
}

/// Only a state knows URLs.
pub(crate) fn states() -> Vec<Case> {
    vec![
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
        // The relay calls another route.
        (
            |input| {
                let uri = values(input, RELAY)["http_target"][0]["uri"].clone();
                let uri = uri.as_str().unwrap_or_default().replace("/relay", "/users");
                values(input, RELAY)["http_target"][0]["uri"] = json!(uri);
            },
            &["relay-job: no Cloud Scheduler job calls POST /relay of staging-user-service"],
        ),
        // The plan of a first deployment does not know what these alerts watch.
        (
            |input| values(input, "google_monitoring_alert_policy.timers[0]")["enabled"] = json!(false),
            &[
                "timer-alert: no alert watches staging-user-service-timers-36136c",
                "timer-alert: no alert notices the delay of staging-user-service-timers-36136c",
            ],
        ),
        (
            |input| {
                values(input, UPTIME_ALERT)["conditions"][0]["condition_threshold"][0]["filter"] = json!(
                    "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id = \"another\""
                );
            },
            &["uptime-alert: no alert watches the uptime check of staging-user-service"],
        ),
    ]
}
