//! Members with more rights than the deployment needs.

use serde_json::{Value, json};

use super::{Case, USER_SERVICE, add, values};

const SERVICE: &str = "serviceAccount:staging-crm-service@demo-project.iam.gserviceaccount.com";

fn on_project(input: &mut Value, role: &str, member: &str) {
    let grant = json!({ "project": "demo-project", "role": role, "member": member });
    add(input, "google_project_iam_member", grant);
}

fn on_account(input: &mut Value, account: &str, role: &str, member: &str) {
    let account =
        format!("projects/demo-project/serviceAccounts/{account}@demo-project.iam.gserviceaccount.com");
    let grant = json!({ "service_account_id": account, "role": role, "member": member });
    add(input, "google_service_account_iam_member", grant);
}

pub(crate) fn access() -> Vec<Case> {
    vec![
        (
            |input| {
                let grant = json!({ "name": "staging-crm-service", "role": "roles/run.invoker", "member": "domain:example.com" });
                add(input, "google_cloud_run_v2_service_iam_member", grant);
            },
            &[
                "open-grant: google_cloud_run_v2_service_iam_member.added gives roles/run.invoker to domain:example.com",
            ],
        ),
        // Customers without a Google account cannot call the service.
        (
            |input| {
                values(input, USER_SERVICE)["invoker_iam_disabled"] = json!(false);
                let grant = json!({ "name": "staging-user-service", "role": "roles/run.invoker", "member": "allAuthenticatedUsers" });
                add(input, "google_cloud_run_v2_service_iam_member", grant);
            },
            &["push-auth: staging-user-service is public, but not everyone may call it"],
        ),
        (
            |input| {
                let grant = json!({ "topic": "staging-user-events", "role": "roles/pubsub.publisher", "member": "allUsers" });
                add(input, "google_pubsub_topic_iam_member", grant);
            },
            &["open-grant: google_pubsub_topic_iam_member.added gives roles/pubsub.publisher to everyone"],
        ),
        (
            |input| on_project(input, "roles/datastore.viewer", "allAuthenticatedUsers"),
            &[
                "open-grant: google_project_iam_member.added gives roles/datastore.viewer to everyone with a Google account",
            ],
        ),
        (
            |input| {
                let grant =
                    json!({ "bucket": "site", "role": "roles/storage.objectViewer", "member": "allUsers" });
                add(input, "google_storage_bucket_iam_member", grant);
            },
            &[
                "open-grant: warning: google_storage_bucket_iam_member.added gives roles/storage.objectViewer to everyone",
            ],
        ),
        // Copies in one project must not share documents.
        (
            |input| {
                values(input, "google_project_iam_member.documents[\"crm-service\"]")["condition"] = json!([])
            },
            &[
                "excess-role: staging-crm-service@demo-project.iam.gserviceaccount.com may change the documents of every database of the project",
            ],
        ),
        // A condition that names no database
        (
            |input| {
                on_project(input, "roles/datastore.user", SERVICE);
                values(input, "google_project_iam_member.added")["condition"] =
                    json!([{ "expression": "true" }]);
            },
            &[
                "excess-role: staging-crm-service@demo-project.iam.gserviceaccount.com may change the documents of every database of the project",
            ],
        ),
        (
            |input| on_project(input, "roles/iam.serviceAccountTokenCreator", SERVICE),
            &[
                "excess-role: staging-crm-service@demo-project.iam.gserviceaccount.com may act as every account of the project",
            ],
        ),
        (
            |input| on_project(input, "roles/owner", "user:ada@example.com"),
            &["excess-role: warning: user:ada@example.com may change everything in the project"],
        ),
        (
            |input| {
                on_account(
                    input,
                    "staging-user-service-push",
                    "roles/iam.serviceAccountTokenCreator",
                    SERVICE,
                )
            },
            &[
                "excess-identity: staging-crm-service@demo-project.iam.gserviceaccount.com may act as staging-user-service-push@demo-project.iam.gserviceaccount.com",
            ],
        ),
        // An operator may create the tasks of timers again.
        (
            |input| {
                on_account(
                    input,
                    "staging-user-service",
                    "roles/iam.serviceAccountUser",
                    "group:crm@example.com",
                )
            },
            &[
                "excess-identity: warning: group:crm@example.com may act as staging-user-service@demo-project.iam.gserviceaccount.com",
            ],
        ),
        // The rights of Google's own systems, and narrow ones of the team
        (
            |input| {
                on_project(
                    input,
                    "roles/pubsub.publisher",
                    "serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com",
                );
                on_project(
                    input,
                    "roles/run.developer",
                    "serviceAccount:service-1@gcp-sa-cloudbuild.iam.gserviceaccount.com",
                );
                on_project(input, "roles/logging.viewer", "group:crm@example.com");
                on_project(input, "roles/bigquery.dataEditor", SERVICE);
            },
            &[],
        ),
    ]
}
