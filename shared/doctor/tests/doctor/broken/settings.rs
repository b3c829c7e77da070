//! Single settings that make a resource useless, unsafe or silent.

use serde_json::{Value, json};

use super::{CRM_SERVICE, Case, QUEUE, USER_SERVICE, add, run, values};

const CHECK: &str = "google_monitoring_uptime_check_config.public[\"user-service\"]";
const DATABASE: &str = "google_firestore_database.documents";

fn http_check(input: &mut Value) -> &mut Value {
    &mut values(input, CHECK)["http_check"][0]
}

pub(crate) fn settings() -> Vec<Case> {
    vec![
        (
            |input| {
                values(input, "google_service_account.delivery[\"crm-service\"]")["disabled"] = json!(true)
            },
            &["setting: google_service_account.delivery[\"crm-service\"] is disabled"],
        ),
        (
            |input| values(input, CRM_SERVICE)["iap_enabled"] = json!(true),
            &[
                "setting: google_cloud_run_v2_service.service[\"crm-service\"] has Identity-Aware Proxy, which asks each caller to sign in with Google",
            ],
        ),
        (
            |input| run(input, "crm-service")["containers"][0]["command"] = json!(["/bin/true"]),
            &[
                "setting: google_cloud_run_v2_service.service[\"crm-service\"] runs the command [\"/bin/true\"] instead of the program of the image",
            ],
        ),
        (
            |input| run(input, "user-service")["containers"][0]["liveness_probe"] = json!([]),
            &[
                "setting: warning: google_cloud_run_v2_service.service[\"user-service\"] has no liveness probe",
            ],
        ),
        (
            |input| {
                run(input, "user-service")["containers"][0]["liveness_probe"][0]["failure_threshold"] =
                    json!(1)
            },
            &[
                "setting: warning: google_cloud_run_v2_service.service[\"user-service\"] restarts its container after 1 failed probes",
            ],
        ),
        (
            |input| {
                values(input, "google_monitoring_notification_channel.email[0]")["enabled"] = json!(false)
            },
            &["setting: google_monitoring_notification_channel.email[0] is disabled"],
        ),
        (
            |input| values(input, CHECK)["content_matchers"] = json!([]),
            &[
                "setting: google_monitoring_uptime_check_config.public[\"user-service\"] does not look at the content",
            ],
        ),
        (
            |input| {
                http_check(input)["accepted_response_status_codes"][1]["status_class"] =
                    json!("STATUS_CLASS_ANY")
            },
            &[
                "setting: google_monitoring_uptime_check_config.public[\"user-service\"] accepts STATUS_CLASS_ANY",
            ],
        ),
        (
            |input| values(input, DATABASE)["delete_protection_state"] = json!("DELETE_PROTECTION_DISABLED"),
            &["setting: warning: google_firestore_database.documents has no protection against deletion"],
        ),
        (
            |input| values(input, "google_firestore_backup_schedule.daily[0]")["retention"] = json!("600s"),
            &["setting: warning: google_firestore_backup_schedule.daily[0] keeps backups for only 600s"],
        ),
        (
            |input| values(input, QUEUE)["rate_limits"] = json!([{ "max_concurrent_dispatches": 1 }]),
            &[
                "setting: warning: google_cloud_tasks_queue.timers[\"user-service\"] starts only 1 tasks at the same time",
            ],
        ),
        (
            |input| {
                values(input, "google_secret_manager_secret.secret[\"mail-url\"]")["ttl"] = json!("86400s")
            },
            &["setting: google_secret_manager_secret.secret[\"mail-url\"] expires after 86400s"],
        ),
        (
            |input| {
                values(input, "google_storage_bucket.build")["public_access_prevention"] = json!("inherited")
            },
            &["setting: warning: google_storage_bucket.build can be opened to everyone"],
        ),
        (
            |input| {
                let account = "projects/demo-project/serviceAccounts/staging-crm-service@demo-project.iam.gserviceaccount.com";
                add(input, "google_service_account_key", json!({ "service_account_id": account }));
            },
            &["setting: warning: google_service_account_key.added is a key of an account of the deployment"],
        ),
        (
            |input| {
                let rules = json!([{ "threshold_percent": 0.5 }, { "threshold_percent": 90 }]);
                let filter = json!([{ "projects": ["projects/1"] }]);
                add(
                    input,
                    "google_billing_budget",
                    json!({ "threshold_rules": rules, "budget_filter": filter }),
                );
            },
            &["setting: warning: google_billing_budget.added sends a mail at 90 times its amount"],
        ),
        // The team's own resources may be as they are.
        (
            |input| {
                add(
                    input,
                    "google_service_account",
                    json!({ "email": "team@demo-project.iam.gserviceaccount.com", "disabled": true }),
                );
                add(
                    input,
                    "google_cloud_run_v2_service",
                    json!({ "name": "site", "iap_enabled": true, "project": "demo-project" }),
                );
                values(input, USER_SERVICE)["template"][0]["containers"][0]["liveness_probe"][0]["failure_threshold"] =
                    json!(5);
            },
            &[],
        ),
        // Nothing in another project belongs to the deployment.
        (
            |input| {
                values(input, "google_pubsub_topic_iam_member.agent_parks[\"crm-service-dead-letter\"]")["project"] =
                    json!("other");
            },
            &[
                "project: warning: google_pubsub_topic_iam_member.agent_parks[\"crm-service-dead-letter\"] is in the project other, so it is no part of this deployment",
                "grant-dead-letters: Pub/Sub may not publish to staging-crm-service-dead-letter",
            ],
        ),
    ]
}
