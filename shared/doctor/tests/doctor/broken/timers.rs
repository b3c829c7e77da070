//! Plans and states with broken timers. The name of a queue ends at random: the cases give it one.

use serde_json::{Value, json};

use super::{Case, QUEUE, condition, env, remove, replace_env, values};

const ALERT: &str = "google_monitoring_alert_policy.timers[0]";
const ACCOUNT: &str = "staging-user-service@demo-project.iam.gserviceaccount.com";

/// Gives the queue the name `staging-user-service-timers-1`, wherever it occurs.
fn name_queue(input: &mut Value) {
    const NAME: &str = "staging-user-service-timers-1";
    values(input, QUEUE)["name"] = json!(NAME);
    for role in ["enqueuer", "taskDeleter"] {
        let grant = format!("google_cloud_tasks_queue_iam_member.timers[\"user-service/{role}\"]");
        values(input, &grant)["name"] = json!(NAME);
    }
    // In a state, the second condition names the queue, too.
    let delays = &mut values(input, ALERT)["conditions"][1]["condition_threshold"][0];
    delays["filter"] = json!(format!(
        "metric.type = \"cloudtasks.googleapis.com/queue/task_attempt_delays\" AND resource.labels.queue_id = \"{NAME}\""
    ));
    condition(input, ALERT)["filter"] = json!(format!(
        "metric.type = \"cloudtasks.googleapis.com/queue/task_attempt_count\" AND metric.labels.response_code != \"ok\" AND resource.labels.queue_id = \"{NAME}\""
    ));
    *env(input, "user-service", "TIMER_QUEUE") =
        json!(format!("projects/demo-project/locations/us-central1/queues/{NAME}"));
}

pub(crate) fn timers() -> Vec<Case> {
    vec![
        (
            |input| replace_env(input, "user-service", "TIMER_SERVICE_ACCOUNT", &[]),
            &["grant-timer: staging-user-service has no TIMER_SERVICE_ACCOUNT"],
        ),
        // The provider shows a queue that somebody has paused by hand.
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["state"] = json!("PAUSED");
            },
            &["timer-queue: the queue staging-user-service-timers-1 is paused"],
        ),
        (
            |input| remove(input, QUEUE),
            &["timer-queue: the queue staging-user-service-timers of staging-user-service is missing"],
        ),
        // The queue of another service does not count.
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["name"] = json!("staging-user-service-timerships-1");
            },
            &["timer-queue: the queue staging-user-service-timers of staging-user-service is missing"],
        ),
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["desired_state"] = json!("PAUSED");
            },
            &["timer-queue: the queue staging-user-service-timers-1 is paused"],
        ),
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["retry_config"][0]["max_attempts"] = json!(5);
            },
            &["timer-queue: the queue staging-user-service-timers-1 gives a task up after 5 attempts"],
        ),
        // The default of Cloud Tasks
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["retry_config"] = json!([]);
            },
            &["timer-queue: the queue staging-user-service-timers-1 gives a task up after 100 attempts"],
        ),
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["retry_config"][0]["max_retry_duration"] = json!("3600s");
            },
            &["timer-queue: the queue staging-user-service-timers-1 gives a task up after 3600 s"],
        ),
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["rate_limits"] = json!([{ "max_dispatches_per_second": 0.1 }]);
            },
            &["timer-queue: the queue staging-user-service-timers-1 starts only 0.1 tasks a second"],
        ),
        (
            |input| {
                name_queue(input);
                values(input, QUEUE)["http_target"] =
                    json!([{ "uri_override": [{ "host": "example.com" }] }]);
            },
            &["timer-queue: the queue staging-user-service-timers-1 overrides the requests of its tasks"],
        ),
        (
            |input| {
                name_queue(input);
                *env(input, "user-service", "TIMER_QUEUE") = json!("projects/p/locations/l/queues/other");
            },
            &[
                "timer-queue: TIMER_QUEUE of staging-user-service is projects/p/locations/l/queues/other, not staging-user-service-timers-1",
            ],
        ),
        (
            |input| {
                name_queue(input);
                remove(input, "google_cloud_tasks_queue_iam_member.timers[\"user-service/enqueuer\"]");
            },
            &["grant-timer: staging-user-service may not add tasks to staging-user-service-timers-1"],
        ),
        (
            |input| {
                name_queue(input);
                remove(input, "google_cloud_tasks_queue_iam_member.timers[\"user-service/taskDeleter\"]");
            },
            &["grant-timer: staging-user-service may not delete tasks of staging-user-service-timers-1"],
        ),
        (
            |input| remove(input, "google_service_account_iam_member.timers_act[\"user-service\"]"),
            &[
                "grant-timer: staging-user-service may not act as staging-user-service@demo-project.iam.gserviceaccount.com, the account of its tasks",
            ],
        ),
        // The account of another service
        (
            |input| {
                let grant = "google_service_account_iam_member.timers_act[\"user-service\"]";
                values(input, grant)["member"] =
                    json!(format!("serviceAccount:{}", ACCOUNT.replace("user", "crm")));
            },
            &[
                "excess-identity: staging-crm-service@demo-project.iam.gserviceaccount.com may act as staging-user-service@demo-project.iam.gserviceaccount.com",
                "grant-timer: staging-user-service may not act as staging-user-service@demo-project.iam.gserviceaccount.com, the account of its tasks",
            ],
        ),
    ]
}
