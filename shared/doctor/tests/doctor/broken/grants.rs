//! Plans and states with broken grants.

use serde_json::json;

use super::{ACKNOWLEDGE_GRANT, Case, INVOKE_GRANT, add, remove, values};

pub(crate) fn grants() -> Vec<Case> {
    vec![
        (
            |input| remove(input, "google_pubsub_topic_iam_member.agent_parks[\"crm-service-dead-letter\"]"),
            &["grant-dead-letters: Pub/Sub may not publish to staging-crm-service-dead-letter"],
        ),
        (
            |input| remove(input, ACKNOWLEDGE_GRANT),
            &["grant-acknowledge: Pub/Sub may not acknowledge messages of staging-crm-service-user-events"],
        ),
        (
            |input| values(input, ACKNOWLEDGE_GRANT)["role"] = json!("roles/pubsub.viewer"),
            &["grant-acknowledge: Pub/Sub may not acknowledge messages of staging-crm-service-user-events"],
        ),
        (
            |input| {
                values(input, ACKNOWLEDGE_GRANT)["member"] =
                    json!("serviceAccount:staging-crm-service@demo-project.iam.gserviceaccount.com");
            },
            &["grant-acknowledge: Pub/Sub may not acknowledge messages of staging-crm-service-user-events"],
        ),
        (
            |input| remove(input, "google_service_account_iam_member.agent_signs[\"crm-service\"]"),
            &[
                "grant-sign: Pub/Sub may not sign tokens as staging-crm-service-push@demo-project.iam.gserviceaccount.com",
            ],
        ),
        (
            |input| remove(input, INVOKE_GRANT),
            &[
                "grant-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com, which delivers to staging-crm-service, may not call it",
            ],
        ),
        (
            |input| values(input, INVOKE_GRANT)["name"] = json!("staging-user-service"),
            &[
                "grant-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com, which delivers to staging-crm-service, may not call it",
                "excess-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com may call staging-user-service",
            ],
        ),
        (
            |input| {
                let grant = json!({ "role": "roles/run.invoker", "project": "demo-project",
                    "member": "serviceAccount:staging-crm-service-push@demo-project.iam.gserviceaccount.com" });
                add(input, "google_project_iam_member", grant);
            },
            &[
                "excess-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com may call every service of the project",
            ],
        ),
        (
            |input| remove(input, "google_pubsub_topic_iam_member.publisher[\"crm-service/user-events\"]"),
            &["grant-publish: staging-crm-service may not publish to staging-user-events"],
        ),
        (
            |input| remove(input, "google_pubsub_topic_iam_member.rejecter[\"crm-service-dead-letter\"]"),
            &["grant-publish: staging-crm-service may not publish to staging-crm-service-dead-letter"],
        ),
        (
            |input| {
                let condition =
                    &mut values(input, "google_project_iam_member.documents[\"crm-service\"]")["condition"];
                condition[0]["expression"] =
                    json!("resource.name == \"projects/demo-project/databases/(default)\"");
            },
            &["grant-documents: staging-crm-service may not use the database staging-data"],
        ),
        (
            |input| {
                let condition =
                    &mut values(input, "google_project_iam_member.documents[\"crm-service\"]")["condition"];
                let own = condition[0]["expression"].as_str().unwrap_or_default().to_owned();
                condition[0]["expression"] = json!(format!("{own} && false"));
            },
            &["grant-documents: staging-crm-service may not use the database staging-data"],
        ),
        // The grant ends some day, and nothing fails before.
        (
            |input| {
                values(input, ACKNOWLEDGE_GRANT)["condition"] = json!([{ "title": "june", "expression": "request.time < timestamp(\"2030-06-30T00:00:00Z\")" }]);
            },
            &["grant-acknowledge: Pub/Sub may not acknowledge messages of staging-crm-service-user-events"],
        ),
        // A service of the same name in another region
        (
            |input| values(input, INVOKE_GRANT)["location"] = json!("europe-west1"),
            &[
                "grant-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com, which delivers to staging-crm-service, may not call it",
            ],
        ),
        (
            |input| {
                let grant = json!({ "role": "roles/pubsub.publisher", "topic": "staging-user-service-dead-letter",
                    "member": "serviceAccount:staging-crm-service@demo-project.iam.gserviceaccount.com" });
                add(input, "google_pubsub_topic_iam_member", grant);
            },
            &[
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to staging-user-service-dead-letter, which the catalog does not declare",
            ],
        ),
        // Ada may remove the dead letters of crm-service, so she may replay them to the topic that they come from.
        (
            |input| {
                let holder = json!({ "role": "roles/pubsub.subscriber", "subscription": "staging-crm-service-dead-letter",
                    "member": "user:ada@example.com" });
                add(input, "google_pubsub_subscription_iam_member", holder);
                let topic = json!({ "role": "roles/pubsub.publisher", "topic": "staging-user-events",
                    "member": "user:ada@example.com" });
                add(input, "google_pubsub_topic_iam_member", topic);
            },
            &[],
        ),
        (
            |input| {
                let grant = json!({ "role": "roles/pubsub.publisher", "topic": "staging-user-events",
                    "member": "user:ada@example.com" });
                add(input, "google_pubsub_topic_iam_member", grant);
            },
            &[
                "excess-publish: user:ada@example.com may publish to staging-user-events, which the catalog does not declare",
            ],
        ),
        (
            |input| {
                let grant = json!({ "role": "roles/editor", "project": "demo-project",
                    "member": "serviceAccount:staging-crm-service@demo-project.iam.gserviceaccount.com" });
                add(input, "google_project_iam_member", grant);
            },
            &[
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to every topic of the project, which the catalog does not declare",
            ],
        ),
        (
            |input| values(input, INVOKE_GRANT)["member"] = json!("allAuthenticatedUsers"),
            &[
                "grant-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com, which delivers to staging-crm-service, may not call it",
                "private-service: staging-crm-service is private, but Cloud Run lets anyone call it",
            ],
        ),
        (
            |input| {
                values(input, "google_cloud_run_v2_service.service[\"crm-service\"]")["invoker_iam_disabled"] =
                    json!(true);
            },
            &["private-service: staging-crm-service is private, but Cloud Run lets anyone call it"],
        ),
        (
            |input| {
                let grant = json!({ "role": "roles/run.invoker", "name": "staging-crm-service", "members": ["allUsers"] });
                add(input, "google_cloud_run_v2_service_iam_binding", grant);
            },
            &[
                "private-service: staging-crm-service is private, but Cloud Run lets anyone call it",
                "authoritative-grant: google_cloud_run_v2_service_iam_binding.added is authoritative",
            ],
        ),
    ]
}
