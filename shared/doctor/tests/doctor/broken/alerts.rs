//! Alerts that fire late or never, and objectives that count no errors.

use serde_json::{Value, json};

use super::{ALERT, BACKLOG_ALERT, Case, add, condition, remove, values};

const ERRORS: &str = "google_monitoring_alert_policy.errors";
const RELAYS: &str = "google_monitoring_alert_policy.relays[0]";
const UPTIME: &str = "google_monitoring_alert_policy.uptime[\"user-service\"]";
const TIMERS: &str = "google_monitoring_alert_policy.timers[0]";
const BURN: &str = "google_monitoring_alert_policy.budget_burn[\"user-service/fast\"]";
const SLO: &str = "google_monitoring_slo.availability[\"user-service\"]";

fn aggregation<'a>(input: &'a mut Value, alert: &str) -> &'a mut Value {
    &mut condition(input, alert)["aggregations"][0]
}

fn absence(input: &mut Value) -> &mut Value {
    &mut values(input, RELAYS)["conditions"][1]["condition_absent"][0]
}

fn ratio(input: &mut Value) -> &mut Value {
    &mut values(input, SLO)["request_based_sli"][0]["good_total_ratio"][0]
}

/// Changes a text.
fn edit(text: &mut Value, old: &str, new: &str) {
    *text = json!(text.as_str().unwrap_or_default().replace(old, new));
}

pub(crate) fn alerts() -> Vec<Case> {
    vec![
        (
            |input| aggregation(input, BACKLOG_ALERT)["per_series_aligner"] = json!("ALIGN_COUNT"),
            &[
                "alert-threshold: google_monitoring_alert_policy.backlog[0] aligns its series with ALIGN_COUNT",
            ],
        ),
        (
            |input| aggregation(input, RELAYS)["per_series_aligner"] = json!("ALIGN_RATE"),
            &["alert-threshold: google_monitoring_alert_policy.relays[0] aligns its series with ALIGN_RATE"],
        ),
        (
            |input| aggregation(input, UPTIME)["cross_series_reducer"] = json!("REDUCE_COUNT_TRUE"),
            &[
                "alert-threshold: google_monitoring_alert_policy.uptime[\"user-service\"] reduces its series with REDUCE_COUNT_TRUE",
            ],
        ),
        (
            |input| aggregation(input, ALERT)["alignment_period"] = json!("86400s"),
            &[
                "alert-threshold: google_monitoring_alert_policy.dead_letters[0] aligns its series in periods of 86400 s",
            ],
        ),
        (
            |input| aggregation(input, RELAYS)["group_by_fields"] = json!([]),
            &[
                "alert-threshold: google_monitoring_alert_policy.relays[0] mixes the series of all names, so sound ones hide a broken one",
            ],
        ),
        // Fifty subscriptions must have dead letters.
        (
            |input| condition(input, ALERT)["trigger"] = json!([{ "count": 50 }]),
            &[
                "alert-threshold: google_monitoring_alert_policy.dead_letters[0] fires only for 50 time series at once",
            ],
        ),
        (
            |input| condition(input, BACKLOG_ALERT)["trigger"] = json!([{ "percent": 100 }]),
            &[
                "alert-threshold: google_monitoring_alert_policy.backlog[0] fires only for 100 % of the time series at once",
            ],
        ),
        // The alert stays open, and a dead letter opens no other.
        (
            |input| condition(input, ALERT)["threshold_value"] = json!(-1),
            &[
                "alert-threshold: google_monitoring_alert_policy.dead_letters[0] fires all the time: already above -1 dead letters",
            ],
        ),
        (
            |input| condition(input, TIMERS)["threshold_value"] = json!(100_000),
            &[
                "alert-threshold: google_monitoring_alert_policy.timers[0] fires only above 100000 failures in a period",
            ],
        ),
        // A job runs ten times in ten minutes.
        (
            |input| condition(input, RELAYS)["threshold_value"] = json!(10),
            &[
                "alert-threshold: google_monitoring_alert_policy.relays[0] fires only above 10 failures in a period",
            ],
        ),
        (
            |input| condition(input, UPTIME)["threshold_value"] = json!(5),
            &[
                "alert-threshold: google_monitoring_alert_policy.uptime[\"user-service\"] fires only above 5 regions",
            ],
        ),
        (
            |input| {
                for alert in [BURN, "google_monitoring_alert_policy.budget_burn[\"user-service/slow\"]"] {
                    values(input, alert)["conditions"][0]["condition_threshold"][0]["threshold_value"] =
                        json!(144);
                    values(input, alert)["conditions"][1]["condition_threshold"][0]["threshold_value"] =
                        json!(144);
                }
            },
            &[
                "alert-threshold: google_monitoring_alert_policy.budget_burn[\"user-service/fast\"] fires only above 144 as the burn rate",
                "alert-threshold: google_monitoring_alert_policy.budget_burn[\"user-service/slow\"] fires only above 144 as the burn rate",
            ],
        ),
        (
            |input| values(input, RELAYS)["combiner"] = json!("AND"),
            &[
                "alert-threshold: google_monitoring_alert_policy.relays[0] fires only if all its conditions hold at once",
            ],
        ),
        (
            |input| absence(input)["duration"] = json!("84600s"),
            &["alert-threshold: google_monitoring_alert_policy.relays[0] fires only after 84600 s"],
        ),
        // A paused job never fails.
        (
            |input| {
                let conditions = values(input, RELAYS)["conditions"].as_array_mut();
                conditions.expect("conditions").pop();
            },
            &["relay-alert: no alert notices the silence of staging-user-service-relay"],
        ),
        (
            |input| edit(&mut absence(input)["filter"], "INFO", "ERROR"),
            &["relay-alert: no alert notices the silence of staging-user-service-relay"],
        ),
        (
            |input| edit(&mut condition(input, RELAYS)["filter"], "ERROR", "INFO"),
            &["relay-alert: no alert watches staging-user-service-relay"],
        ),
        (
            |input| edit(&mut condition(input, ERRORS)["filter"], "5xx", "2xx"),
            &[
                "error-alert: no alert watches the errors of staging-user-service",
                "error-alert: no alert watches the errors of staging-crm-service",
            ],
        ),
        (
            |input| {
                edit(
                    &mut condition(input, BACKLOG_ALERT)["filter"],
                    "oldest_unacked_message_age",
                    "ack_latencies",
                )
            },
            &[
                "backlog-alert: no alert watches staging-user-service-user-events",
                "backlog-alert: no alert watches staging-crm-service-user-events",
            ],
        ),
        (
            |input| edit(&mut condition(input, ERRORS)["denominator_filter"], "staging-crm-service", "other"),
            &[
                "alert-threshold: google_monitoring_alert_policy.errors divides by the number of other requests",
            ],
        ),
        (
            |input| condition(input, ERRORS)["threshold_value"] = json!(0.9),
            &[
                "alert-threshold: warning: google_monitoring_alert_policy.errors fires only above 0.9 as the share of failing requests",
            ],
        ),
        (
            |input| {
                let filter = &mut condition(input, ALERT)["filter"];
                edit(filter, "resource.type", "metadata.user_labels.team = \"crm\" AND resource.type");
            },
            &[
                "alert-threshold: warning: google_monitoring_alert_policy.dead_letters[0] watches only what passes `metadata.user_labels.team = \"crm\"`",
            ],
        ),
        // Another form of the same filter, and other choices
        (
            |input| {
                let filter = &mut condition(input, BACKLOG_ALERT)["filter"];
                edit(
                    filter,
                    "resource.labels.subscription_id = one_of(\"staging-crm-service-user-events\", \"staging-user-service-user-events\")",
                    "resource.label.subscription_id=starts_with(\"staging-\") AND resource.labels.project_id = (\"demo-project\" OR \"other\")",
                );
                condition(input, BACKLOG_ALERT)["threshold_value"] = json!(3600);
                aggregation(input, BACKLOG_ALERT)["alignment_period"] = json!("300s");
                condition(input, ERRORS)["duration"] = json!("0s");
                condition(input, UPTIME)["threshold_value"] = json!(0);
            },
            &[],
        ),
        // An alert of the team, which watches nothing that the doctor requires
        (
            |input| {
                let alert = json!({ "combiner": "AND", "enabled": true, "notification_channels": ["c"], "conditions": [
                    { "condition_threshold": [{ "filter": "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"",
                        "comparison": "COMPARISON_LT", "threshold_value": 1, "duration": "86400s" }] },
                    { "condition_prometheus_query_language": [{ "query": "up" }] }
                ] });
                add(input, "google_monitoring_alert_policy", alert);
            },
            &[],
        ),
        // It replaces the alert on the backlog.
        (
            |input| {
                remove(input, BACKLOG_ALERT);
                let alert = json!({ "combiner": "OR", "notification_channels": ["c"], "conditions": [
                    { "condition_threshold": [{ "filter": "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"",
                        "comparison": "COMPARISON_GT", "threshold_value": 500, "duration": "300s" }] }
                ] });
                add(input, "google_monitoring_alert_policy", alert);
            },
            &[],
        ),
        (|input| remove(input, SLO), &["slo: no SLO measures the requests of staging-user-service"]),
        (
            |input| edit(&mut ratio(input)["bad_service_filter"], "5xx", "4xx"),
            &[
                "slo: google_monitoring_slo.availability[\"user-service\"] does not count the requests of staging-user-service that fail",
            ],
        ),
        (
            |input| edit(&mut ratio(input)["bad_service_filter"], "staging-user-service", "other"),
            &[
                "slo: google_monitoring_slo.availability[\"user-service\"] does not count the requests of staging-user-service that fail",
            ],
        ),
        (
            |input| values(input, SLO)["goal"] = json!(0.5),
            &["slo: the goal of google_monitoring_slo.availability[\"user-service\"] is 0.5"],
        ),
        (
            |input| values(input, SLO)["goal"] = json!(0.999_99),
            &["slo: warning: the goal of google_monitoring_slo.availability[\"user-service\"] is 0.99999"],
        ),
    ]
}
