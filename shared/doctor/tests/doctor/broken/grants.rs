//! Grants, of a plan or a state.

use serde_json::json;

use super::{ACKNOWLEDGES, Broken, INVOKES, add, remove, values};

pub(crate) fn grants() -> Vec<Broken> {
    vec![
        (
            |it| remove(it, "google_pubsub_topic_iam_member.agent_parks[\"crm-service-dead-letter\"]"),
            &["grant-dead-letters: Pub/Sub may not publish to staging-crm-service-dead-letter"],
        ),
        (
            |it| remove(it, ACKNOWLEDGES),
            &["grant-acknowledge: Pub/Sub may not acknowledge in staging-crm-service-user-events"],
        ),
        (
            |it| values(it, ACKNOWLEDGES)["role"] = json!("roles/pubsub.viewer"),
            &["grant-acknowledge: Pub/Sub may not acknowledge in staging-crm-service-user-events"],
        ),
        (
            |it| {
                values(it, ACKNOWLEDGES)["member"] =
                    json!("serviceAccount:staging-crm-service@demo-project.iam.gserviceaccount.com");
            },
            &["grant-acknowledge: Pub/Sub may not acknowledge in staging-crm-service-user-events"],
        ),
        (
            |it| remove(it, "google_service_account_iam_member.agent_signs[\"crm-service\"]"),
            &[
                "grant-sign: Pub/Sub may not sign tokens as staging-crm-service-push@demo-project.iam.gserviceaccount.com",
            ],
        ),
        (
            |it| remove(it, INVOKES),
            &[
                "grant-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com, which delivers to staging-crm-service, may not call it",
            ],
        ),
        (
            |it| values(it, INVOKES)["name"] = json!("staging-user-service"),
            &[
                "grant-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com, which delivers to staging-crm-service, may not call it",
                "excess-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com may call staging-user-service",
            ],
        ),
        (
            |it| {
                let grant = json!({ "role": "roles/run.invoker", "project": "demo-project",
                    "member": "serviceAccount:staging-crm-service-push@demo-project.iam.gserviceaccount.com" });
                add(it, "google_project_iam_member", grant);
            },
            &[
                "excess-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com may call every service of the project",
            ],
        ),
        (
            |it| remove(it, "google_pubsub_topic_iam_member.publisher[\"crm-service/user-events\"]"),
            &["grant-publish: staging-crm-service may not publish to staging-user-events"],
        ),
        (
            |it| remove(it, "google_pubsub_topic_iam_member.rejecter[\"crm-service-dead-letter\"]"),
            &["grant-publish: staging-crm-service may not publish to staging-crm-service-dead-letter"],
        ),
        (
            |it| {
                let condition =
                    &mut values(it, "google_project_iam_member.documents[\"crm-service\"]")["condition"];
                condition[0]["expression"] =
                    json!("resource.name == \"projects/demo-project/databases/(default)\"");
            },
            &["grant-documents: staging-crm-service may not use the database staging-data"],
        ),
        (
            |it| {
                let grant = json!({ "role": "roles/pubsub.publisher", "topic": "staging-user-service-dead-letter",
                    "member": "serviceAccount:staging-crm-service@demo-project.iam.gserviceaccount.com" });
                add(it, "google_pubsub_topic_iam_member", grant);
            },
            &[
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to staging-user-service-dead-letter, which the catalog does not say",
            ],
        ),
        (
            |it| {
                let grant = json!({ "role": "roles/editor", "project": "demo-project",
                    "member": "serviceAccount:staging-crm-service@demo-project.iam.gserviceaccount.com" });
                add(it, "google_project_iam_member", grant);
            },
            &[
                "excess-publish: staging-crm-service@demo-project.iam.gserviceaccount.com may publish to every topic of the project, which the catalog does not say",
            ],
        ),
        (
            |it| values(it, INVOKES)["member"] = json!("allAuthenticatedUsers"),
            &[
                "grant-invoke: staging-crm-service-push@demo-project.iam.gserviceaccount.com, which delivers to staging-crm-service, may not call it",
                "private-service: staging-crm-service is private, but Cloud Run lets everyone call it",
            ],
        ),
        (
            |it| {
                values(it, "google_cloud_run_v2_service.service[\"crm-service\"]")["invoker_iam_disabled"] =
                    json!(true);
            },
            &["private-service: staging-crm-service is private, but Cloud Run lets everyone call it"],
        ),
        (
            |it| {
                let grant = json!({ "role": "roles/run.invoker", "name": "staging-crm-service", "members": ["allUsers"] });
                add(it, "google_cloud_run_v2_service_iam_binding", grant);
            },
            &[
                "private-service: staging-crm-service is private, but Cloud Run lets everyone call it",
                "authoritative-grant: google_cloud_run_v2_service_iam_binding.added is authoritative",
            ],
        ),
    ]
}
