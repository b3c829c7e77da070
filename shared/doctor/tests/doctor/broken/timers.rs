use serde_json::json;

use super::{Case, env, remove, values};

const QUEUE: &str = "google_cloud_tasks_queue.timers[\"crm-service\"]";
const ENQUEUE: &str = "google_cloud_tasks_queue_iam_member.timers[\"crm-service/enqueuer\"]";
const DELETE: &str = "google_cloud_tasks_queue_iam_member.timers[\"crm-service/taskDeleter\"]";
const ACT: &str = "google_service_account_iam_member.timers_act[\"crm-service\"]";
const ALERT: &str = "google_monitoring_alert_policy.timers[0]";

/// `crm-service` publishes events at a later time.
pub(crate) fn timers() -> Vec<Case> {
    vec![
        (|input| remove(input, QUEUE), &["timer-queue: staging-crm-service has no queue for its timers"]),
        (
            |input| values(input, QUEUE)["desired_state"] = json!("PAUSED"),
            &["timer-queue: the queue of staging-crm-service is paused"],
        ),
        (
            |input| values(input, QUEUE)["retry_config"][0]["max_attempts"] = json!(100),
            &["timer-queue: the queue of staging-crm-service deletes timers that fail"],
        ),
        (
            |input| values(input, QUEUE)["retry_config"][0]["max_retry_duration"] = json!("3600s"),
            &["timer-queue: the queue of staging-crm-service deletes timers that fail"],
        ),
        // Cloud Tasks chooses the number of attempts.
        (
            |input| values(input, QUEUE)["retry_config"] = json!([]),
            &["timer-queue: the queue of staging-crm-service deletes timers that fail"],
        ),
        (
            |input| remove(input, ENQUEUE),
            &["grant-timers: staging-crm-service may not set timers in its queue"],
        ),
        (
            |input| remove(input, DELETE),
            &["grant-timers: warning: staging-crm-service may not cancel timers in its queue"],
        ),
        (
            |input| remove(input, ACT),
            &[
                "grant-timers: staging-crm-service may not act as its own account, as which its timers publish",
            ],
        ),
        (
            |input| *env(input, "crm-service", "TIMER_SERVICE_ACCOUNT") = json!("owner@example.com"),
            &["grant-timers: the timers of staging-crm-service publish as owner@example.com"],
        ),
        (
            |input| remove(input, "google_firestore_field.documents_expire[\"drafts\"]"),
            &["ttl: drafts.expireAt in the database staging-data has no TTL policy"],
        ),
    ]
}

/// A plan does not know the names of queues, so these are for states only.
pub(crate) fn alerts() -> Vec<Case> {
    vec![
        (|input| remove(input, ALERT), &["timer-alert: no alert watches the queue of staging-crm-service"]),
        (
            |input| {
                let filter = &mut values(input, ALERT)["conditions"][0]["condition_threshold"][0]["filter"];
                *filter = json!(filter.as_str().unwrap_or_default().replace("staging-crm", "staging-other"));
            },
            &["timer-alert: no alert watches the queue of staging-crm-service"],
        ),
    ]
}
