//! Plans and states of deployments that succeed and do not work: the mistakes that people make.

use serde_json::json;

use super::{
    ACKNOWLEDGE_GRANT, ALERT, BACKLOG_ALERT, CRM, CRM_SERVICE, Case, HOLDER, RELAY, USER_SERVICE, add,
    condition, env, push, remove, replace_env, run, values,
};

/// The doctor misses those without an expected finding.
pub(crate) fn deployments() -> Vec<Case> {
    vec![
        // Traffic is pinned to an old revision.
        (
            |input| {
                values(input, CRM_SERVICE)["traffic"] = json!([{
                    "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "staging-crm-service-00007-abc", "percent": 100
                }]);
            },
            &["traffic: the newest revision of staging-crm-service gets 0 % of the traffic"],
        ),
        // A canary was forgotten.
        (
            |input| {
                values(input, CRM_SERVICE)["traffic"] = json!([
                    { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "staging-crm-service-00007-abc", "percent": 90 },
                    { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 10 }
                ]);
            },
            &["traffic: warning: the newest revision of staging-crm-service gets 10 % of the traffic"],
        ),
        (
            |input| values(input, CRM)["push_config"][0]["no_wrapper"] = json!([{ "write_metadata": false }]),
            &["push-form: staging-crm-service-user-events pushes the data without the attributes"],
        ),
        (
            |input| values(input, CRM)["push_config"][0]["no_wrapper"] = json!([{ "write_metadata": true }]),
            &["push-form: warning: staging-crm-service-user-events pushes attributes as headers"],
        ),
        (
            |input| values(input, HOLDER)["filter"] = json!("attributes.team = \"crm\""),
            &[
                "dead-letter-holder: staging-crm-service-dead-letter keeps only messages that pass `attributes.team = \"crm\"`",
            ],
        ),
        // The relay runs once a year.
        (
            |input| values(input, RELAY)["schedule"] = json!("0 0 1 1 *"),
            &[
                "relay-job: staging-user-service-relay calls POST /relay of staging-user-service only at `0 0 1 1 *`",
            ],
        ),
        (
            |input| condition(input, ALERT)["threshold_value"] = json!(1_000_000),
            &[
                "alert-threshold: google_monitoring_alert_policy.dead_letters[0] fires only above 1000000 dead letters",
            ],
        ),
        // It fires while all is well.
        (
            |input| condition(input, ALERT)["comparison"] = json!("COMPARISON_LT"),
            &[
                "alert-threshold: google_monitoring_alert_policy.dead_letters[0] fires below its threshold, not above",
            ],
        ),
        (
            |input| condition(input, ALERT)["duration"] = json!("604800s"),
            &["alert-threshold: google_monitoring_alert_policy.dead_letters[0] fires only after 604800 s"],
        ),
        (
            |input| condition(input, BACKLOG_ALERT)["threshold_value"] = json!(700_000),
            &[
                "alert-threshold: google_monitoring_alert_policy.backlog[0] fires only above 700000 seconds, the age of the oldest message",
            ],
        ),
        (
            |input| condition(input, "google_monitoring_alert_policy.errors")["threshold_value"] = json!(1),
            &[
                "alert-threshold: google_monitoring_alert_policy.errors fires only above 1 as the share of failing requests",
            ],
        ),
        (
            |input| values(input, ALERT)["notification_channels"] = json!([]),
            &[
                "alert-channel: warning: google_monitoring_alert_policy.dead_letters[0] has no notification channel",
            ],
        ),
        (
            |input| remove(input, BACKLOG_ALERT),
            &[
                "backlog-alert: no alert watches staging-user-service-user-events",
                "backlog-alert: no alert watches staging-crm-service-user-events",
            ],
        ),
        // Nobody hears that the relay fails.
        (
            |input| remove(input, "google_monitoring_alert_policy.relays[0]"),
            &[
                "relay-alert: no alert watches staging-user-service-relay",
                "relay-alert: no alert notices the silence of staging-user-service-relay",
            ],
        ),
        (
            |input| {
                condition(input, "google_monitoring_alert_policy.relays[0]")["filter"] = json!(
                    "resource.type = \"cloud_scheduler_job\" AND resource.labels.job_id = \"another-relay\""
                );
            },
            &["relay-alert: no alert watches staging-user-service-relay"],
        ),
        (
            |input| remove(input, "google_monitoring_uptime_check_config.public[\"user-service\"]"),
            &["uptime: warning: no uptime check calls staging-user-service"],
        ),
        (
            |input| remove(input, "google_firestore_backup_schedule.daily[0]"),
            &["backup: warning: the database staging-data has neither backups nor old versions"],
        ),
        (
            |input| {
                values(input, "google_firestore_backup_schedule.daily[0]")["database"] = json!("(default)")
            },
            &["backup: warning: the database staging-data has neither backups nor old versions"],
        ),
        (
            |input| values(input, CRM_SERVICE)["default_uri_disabled"] = json!(true),
            &["ingress: the default URL of staging-crm-service is disabled"],
        ),
        (
            |input| values(input, USER_SERVICE)["ingress"] = json!("INGRESS_TRAFFIC_INTERNAL_ONLY"),
            &["ingress: staging-user-service is public, but accepts no calls from the internet"],
        ),
        // The operators get 404.
        (
            |input| values(input, CRM_SERVICE)["ingress"] = json!("INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
            &["ingress: staging-crm-service has operators, but accepts no calls from the internet"],
        ),
        (
            |input| *env(input, "crm-service", "GOOGLE_CLOUD_PROJECT") = json!("other-project"),
            &[
                "project: staging-crm-service is in demo-project, but its GOOGLE_CLOUD_PROJECT is other-project",
            ],
        ),
        (
            |input| values(input, "google_firestore_database.documents")["type"] = json!("DATASTORE_MODE"),
            &["database: the database staging-data is not in Firestore's Native mode"],
        ),
        (
            |input| {
                values(input, "google_pubsub_topic.events[\"user-events\"]")["schema_settings"] =
                    json!([{ "schema": "projects/demo-project/schemas/user", "encoding": "JSON" }]);
            },
            &["topic-schema: the topic staging-user-events has a schema"],
        ),
        (
            |input| {
                values(input, CRM)["message_transforms"] = json!([{ "javascript_udf": [{ "function_name": "drop", "code": "function drop() { return null; }" }] }]);
            },
            &["transform: the subscription staging-crm-service-user-events has a message transform"],
        ),
        (
            |input| replace_env(input, "crm-service", "STRIPE_SECRET_KEY", &[("PAYMENTS", "local")]),
            &["stand-in: warning: staging-crm-service has PAYMENTS=local"],
        ),
        (
            |input| replace_env(input, "crm-service", "MAIL_URL", &[("MAIL", "local")]),
            &["stand-in: warning: staging-crm-service has MAIL=local"],
        ),
        // Neither a secret nor a choice
        (
            |input| replace_env(input, "crm-service", "STRIPE_SECRET_KEY", &[]),
            &["secret: staging-crm-service has no STRIPE_SECRET_KEY"],
        ),
        (
            |input| replace_env(input, "crm-service", "MAIL_FROM", &[]),
            &["secret: staging-crm-service has MAIL_URL, but no MAIL_FROM"],
        ),
        (
            |input| {
                replace_env(input, "crm-service", "STRIPE_SECRET_KEY", &[("STRIPE_SECRET_KEY", "sk_test_1")])
            },
            &["secret: STRIPE_SECRET_KEY of staging-crm-service is not from Secret Manager"],
        ),
        (
            |input| remove(input, "google_secret_manager_secret_iam_member.reader[\"crm-service/MAIL_URL\"]"),
            &["grant-secret: staging-crm-service may not read staging-mail-url, its MAIL_URL"],
        ),
        // A private service compares the account, too.
        (
            |input| *env(input, "crm-service", "PUSH_SERVICE_ACCOUNT") = json!("ada@example.com"),
            &[
                "push-token: staging-crm-service-user-events delivers as staging-crm-service-push@demo-project.iam.gserviceaccount.com, which is not PUSH_SERVICE_ACCOUNT of staging-crm-service",
            ],
        ),
        (
            |input| {
                values(input, CRM_SERVICE)["scaling"] =
                    json!([{ "scaling_mode": "MANUAL", "manual_instance_count": 0 }])
            },
            &["instances: staging-crm-service has no instances"],
        ),
        (
            |input| {
                run(input, "crm-service")["containers"][0]["liveness_probe"][0]["http_get"][0]["path"] =
                    json!("/")
            },
            &["liveness: the liveness probe of staging-crm-service calls /"],
        ),
        (
            |input| {
                run(input, "crm-service")["containers"][0]["liveness_probe"][0]["http_get"][0]["port"] =
                    json!(9090)
            },
            &["liveness: the liveness probe of staging-crm-service calls the port 9090, not 8080"],
        ),
        (
            |input| run(input, "crm-service")["containers"][0]["ports"][0]["container_port"] = json!(80),
            &[
                "startup: the startup probe of staging-crm-service calls the port 8080, not 80",
                "liveness: the liveness probe of staging-crm-service calls the port 8080, not 80",
            ],
        ),
        // Without operators, only Pub/Sub calls it.
        (
            |input| {
                remove(
                    input,
                    "google_cloud_run_v2_service_iam_member.operator[\"crm-service/group:crm@example.com\"]",
                )
            },
            &[
                "ingress: warning: staging-crm-service accepts calls from the internet, and nobody calls it from there",
            ],
        ),
        // Without pushes, a service still has its own requests.
        (
            |input| {
                remove(input, CRM);
                run(input, "crm-service")["timeout"] = json!("1s");
            },
            &[
                "missing: the subscription staging-crm-service-user-events is missing",
                "request-timeout: the request timeout of staging-crm-service (1 s) is shorter than the handler's deadline (15 s)",
            ],
        ),
        // Somebody has paused the job by hand.
        (
            |input| values(input, RELAY)["state"] = json!("PAUSED"),
            &[
                "relay-job: staging-user-service-relay, which calls POST /relay of staging-user-service, is paused",
            ],
        ),
        // After a replaced subscription
        (
            |input| remove(input, ACKNOWLEDGE_GRANT),
            &["grant-acknowledge: Pub/Sub may not acknowledge messages of staging-crm-service-user-events"],
        ),
        (
            |input| {
                run(input, "crm-service")["containers"][0]["startup_probe"] =
                    json!([{ "http_get": [{ "path": "/" }] }]);
            },
            &["startup: the startup probe of staging-crm-service calls /"],
        ),
        // All outgoing traffic goes to a network, which may have no way to Google.
        (
            |input| run(input, "crm-service")["vpc_access"] = json!([{ "egress": "ALL_TRAFFIC" }]),
            &["network: warning: all outgoing traffic of staging-crm-service goes to a network"],
        ),
        (
            |input| values(input, RELAY)["attempt_deadline"] = json!("15s"),
            &["relay-deadline: staging-user-service-relay waits only 15 s for an answer"],
        ),
        (
            |input| {
                replace_env(input, "user-service", "AUTH_ISSUER", &[("AUTH_ISSUER", "https://a.example")]);
                replace_env(input, "crm-service", "AUTH_ISSUER", &[("AUTH_ISSUER", "https://b.example")]);
            },
            &[
                "sign-in: AUTH_ISSUER of staging-crm-service is https://b.example, but staging-user-service has https://a.example",
            ],
        ),
        (
            |input| {
                for (service, secret) in [("user-service", "auth-jwks"), ("crm-service", "old-jwks")] {
                    let name = "AUTH_JWKS";
                    replace_env(input, service, name, &[]);
                    let source = json!([{ "secret_key_ref": [{ "secret": secret }] }]);
                    let variable = json!({ "name": name, "value_source": source });
                    push(&mut run(input, service)["containers"][0]["env"], variable);
                    let member =
                        format!("serviceAccount:staging-{service}@demo-project.iam.gserviceaccount.com");
                    let role = "roles/secretmanager.secretAccessor";
                    let grant = json!({ "secret_id": secret, "role": role, "member": member });
                    add(input, "google_secret_manager_secret_iam_member", grant);
                }
            },
            &[
                "sign-in: staging-user-service verifies access tokens, but has no AUTH_ISSUER",
                "sign-in: staging-crm-service verifies access tokens, but has no AUTH_ISSUER",
                "sign-in: AUTH_JWKS of staging-crm-service is old-jwks, but staging-user-service has auth-jwks",
                "excess-secret: staging-user-service@demo-project.iam.gserviceaccount.com may read auth-jwks, which the catalog does not declare",
                "excess-secret: staging-crm-service@demo-project.iam.gserviceaccount.com may read old-jwks, which the catalog does not declare",
            ],
        ),
        // A service reads the secret of another one.
        (
            |input| {
                let grant = json!({
                    "secret_id": "staging-mail-url", "role": "roles/secretmanager.secretAccessor",
                    "member": "serviceAccount:staging-user-service@demo-project.iam.gserviceaccount.com"
                });
                add(input, "google_secret_manager_secret_iam_member", grant);
            },
            &[
                "excess-secret: staging-user-service@demo-project.iam.gserviceaccount.com may read staging-mail-url, which the catalog does not declare",
            ],
        ),
        (
            |input| {
                let grant = json!({
                    "project": "demo-project", "role": "roles/secretmanager.secretAccessor",
                    "member": "serviceAccount:staging-user-service@demo-project.iam.gserviceaccount.com"
                });
                add(input, "google_project_iam_member", grant);
            },
            &[
                "excess-secret: staging-user-service@demo-project.iam.gserviceaccount.com may read every secret of the project, which the catalog does not declare",
            ],
        ),
        (
            |input| remove(input, "google_monitoring_alert_policy.errors"),
            &[
                "error-alert: no alert watches the errors of staging-user-service",
                "error-alert: no alert watches the errors of staging-crm-service",
            ],
        ),
        (
            |input| {
                for speed in ["fast", "slow"] {
                    let alert =
                        format!("google_monitoring_alert_policy.budget_burn[\"user-service/{speed}\"]");
                    values(input, &alert)["enabled"] = json!(false);
                }
            },
            &["budget-alert: no alert watches the error budget of staging-user-service"],
        ),
        // No load balancer calls it.
        (
            |input| values(input, USER_SERVICE)["ingress"] = json!("INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
            &["ingress: staging-user-service is public, but accepts no calls from the internet"],
        ),
        // A deny policy overrides all grants.
        (
            |input| {
                let policy = json!({ "name": "no-publishing", "parent": "cloudresourcemanager.googleapis.com%2Fprojects%2Fdemo-project" });
                add(input, "google_iam_deny_policy", policy);
            },
            &[],
        ),
    ]
}
