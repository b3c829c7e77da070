//! Plans and states with broken services and relay jobs.

use serde_json::json;

use super::{Case, RELAY, USER_SERVICE, env, remove, run, values};

pub(crate) fn services() -> Vec<Case> {
    vec![
        (
            |input| remove(input, "google_cloud_run_v2_service.service[\"crm-service\"]"),
            &[
                "missing: the service staging-crm-service is missing",
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to staging-user-events, which the catalog does not declare",
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to staging-crm-service-dead-letter, which the catalog does not declare",
                "excess-secret: staging-crm-service@demo-project.iam.gserviceaccount.com may read staging-mail-url, which the catalog does not declare",
                "excess-secret: staging-crm-service@demo-project.iam.gserviceaccount.com may read staging-stripe-secret-key, which the catalog does not declare",
            ],
        ),
        (
            |input| remove(input, "google_pubsub_topic.events[\"user-events\"]"),
            &["missing: the topic staging-user-events is missing"],
        ),
        (
            |input| remove(input, "google_pubsub_topic.dead_letters[\"crm-service-dead-letter\"]"),
            &["missing: the dead-letter topic staging-crm-service-dead-letter is missing"],
        ),
        (
            |input| remove(input, "google_pubsub_subscription.push[\"crm-service-user-events\"]"),
            &["missing: the subscription staging-crm-service-user-events is missing"],
        ),
        (
            |input| *env(input, "crm-service", "NAMES_PREFIX") = json!(""),
            &["names-prefix: names begin with \"staging-\", but NAMES_PREFIX of staging-crm-service is \"\""],
        ),
        (
            |input| run(input, "crm-service")["containers"][0]["args"][1] = json!("user-service"),
            &["wrong-code: staging-crm-service runs user-service"],
        ),
        (
            |input| run(input, "crm-service")["timeout"] = json!("29s"),
            &[
                "request-timeout: the request timeout of staging-crm-service (29 s) is shorter than the ack deadline of staging-crm-service-user-events (30 s)",
            ],
        ),
        (
            |input| *env(input, "user-service", "PUSH_AUTH") = json!("iam"),
            &[
                "push-auth: staging-user-service is public, but its PUSH_AUTH is iam",
                "push-token: the tokens of staging-user-service-user-events are for staging-user-service.us-central1.demo-project, which is not a custom audience of staging-user-service",
                "push-token: the tokens of staging-user-service-relay are for staging-user-service.us-central1.demo-project, which is not a custom audience of staging-user-service",
            ],
        ),
        (
            |input| *env(input, "crm-service", "PUSH_AUTH") = json!("oidc"),
            &["push-auth: staging-crm-service is private, but its PUSH_AUTH is oidc"],
        ),
        (
            |input| {
                values(input, "google_cloud_run_v2_service.service[\"user-service\"]")["custom_audiences"] =
                    json!(["staging-user-service.us-central1.demo-project"]);
            },
            &[
                "push-auth: staging-user-service is public, but has the custom audience staging-user-service.us-central1.demo-project",
            ],
        ),
        (
            |input| values(input, USER_SERVICE)["invoker_iam_disabled"] = json!(false),
            &["push-auth: staging-user-service is public, but not everyone may call it"],
        ),
        (
            |input| remove(input, RELAY),
            &["relay-job: no Cloud Scheduler job calls POST /relay of staging-user-service"],
        ),
        (
            |input| values(input, RELAY)["http_target"][0]["http_method"] = json!("GET"),
            &["relay-job: no Cloud Scheduler job calls POST /relay of staging-user-service"],
        ),
        (
            |input| values(input, RELAY)["paused"] = json!(true),
            &[
                "relay-job: staging-user-service-relay, which calls POST /relay of staging-user-service, is paused",
            ],
        ),
    ]
}
