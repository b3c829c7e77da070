//! Services and relays, of a plan or a state.

use serde_json::json;

use super::{Broken, RELAY, env, remove, run, values};

pub(crate) fn services() -> Vec<Broken> {
    vec![
        (
            |it| remove(it, "google_cloud_run_v2_service.service[\"crm-service\"]"),
            &[
                "missing: the service staging-crm-service is missing",
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to staging-user-events, which the catalog does not say",
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to staging-crm-service-dead-letter, which the catalog does not say",
            ],
        ),
        (
            |it| remove(it, "google_pubsub_topic.events[\"user-events\"]"),
            &["missing: the topic staging-user-events is missing"],
        ),
        (
            |it| remove(it, "google_pubsub_topic.dead_letters[\"crm-service-dead-letter\"]"),
            &["missing: the dead-letter topic staging-crm-service-dead-letter is missing"],
        ),
        (
            |it| remove(it, "google_pubsub_subscription.push[\"crm-service-user-events\"]"),
            &["missing: the subscription staging-crm-service-user-events is missing"],
        ),
        (
            |it| *env(it, "crm-service", "NAMES_PREFIX") = json!(""),
            &[
                "names-prefix: names here begin with \"staging-\", but NAMES_PREFIX of staging-crm-service is \"\"",
            ],
        ),
        (
            |it| run(it, "crm-service")["containers"][0]["args"][1] = json!("user-service"),
            &["wrong-code: staging-crm-service runs user-service"],
        ),
        (
            |it| run(it, "crm-service")["timeout"] = json!("29s"),
            &[
                "request-timeout: staging-crm-service cuts requests off after 29 s, before the ack deadline of staging-crm-service-user-events (30 s)",
            ],
        ),
        (
            |it| *env(it, "user-service", "PUSH_AUTH") = json!("iam"),
            &[
                "push-auth: staging-user-service is public, and its PUSH_AUTH is iam",
                "push-token: the tokens of staging-user-service-user-events are for staging-user-service.us-central1.demo-project, which is not a custom audience of staging-user-service",
                "push-token: the tokens of staging-user-service-relay are for staging-user-service.us-central1.demo-project, which is not a custom audience of staging-user-service",
            ],
        ),
        (
            |it| *env(it, "crm-service", "PUSH_AUTH") = json!("oidc"),
            &["push-auth: staging-crm-service is private, and its PUSH_AUTH is oidc"],
        ),
        (
            |it| {
                values(it, "google_cloud_run_v2_service.service[\"user-service\"]")["custom_audiences"] =
                    json!(["staging-user-service.us-central1.demo-project"]);
            },
            &[
                "push-auth: staging-user-service is public and has the custom audience staging-user-service.us-central1.demo-project",
            ],
        ),
        (
            |it| remove(it, "google_cloud_run_v2_service_iam_member.everyone[\"user-service\"]"),
            &["push-auth: staging-user-service is public, but Cloud Run does not let everyone in"],
        ),
        (
            |it| remove(it, RELAY),
            &["relay-job: no Cloud Scheduler job calls POST /relay of staging-user-service"],
        ),
        (
            |it| values(it, RELAY)["http_target"][0]["http_method"] = json!("GET"),
            &["relay-job: no Cloud Scheduler job calls POST /relay of staging-user-service"],
        ),
        (
            |it| values(it, RELAY)["paused"] = json!(true),
            &[
                "relay-job: staging-user-service-relay, which calls POST /relay of staging-user-service, is paused",
            ],
        ),
    ]
}
