//! Plans and states with broken dead letters and receipts.

use serde_json::json;

use super::{ALERT, CRM, Case, HOLDER, TTL, remove, values};

pub(crate) fn dead_letters() -> Vec<Case> {
    vec![
        (
            |input| values(input, CRM)["dead_letter_policy"] = json!([]),
            &["dead-letter-policy: staging-crm-service-user-events has no dead-letter policy"],
        ),
        (
            |input| {
                values(input, CRM)["dead_letter_policy"][0]["dead_letter_topic"] =
                    json!("projects/demo-project/topics/staging-user-service-dead-letter");
            },
            &[
                "dead-letter-policy: staging-crm-service-user-events sends dead letters to staging-user-service-dead-letter",
            ],
        ),
        (
            |input| remove(input, HOLDER),
            &["dead-letter-holder: no subscription keeps the messages of staging-crm-service-dead-letter"],
        ),
        (
            |input| values(input, HOLDER)["message_retention_duration"] = json!("604800s"),
            &[
                "dead-letter-holder: the messages of staging-crm-service-dead-letter are kept for only 604800 s",
            ],
        ),
        // The letters that operators look at move on.
        (
            |input| {
                values(input, HOLDER)["dead_letter_policy"] = json!([{
                    "dead_letter_topic": "projects/demo-project/topics/staging-user-service-dead-letter", "max_delivery_attempts": 5
                }]);
            },
            &["dead-letter-holder: staging-crm-service-dead-letter has a dead-letter policy of its own"],
        ),
        // They are in a table, where no command finds them.
        (
            |input| {
                values(input, HOLDER)["bigquery_config"] = json!([{ "table": "demo-project.letters.all" }])
            },
            &["dead-letter-holder: no subscription keeps the messages of staging-crm-service-dead-letter"],
        ),
        (
            |input| remove(input, ALERT),
            &[
                "dead-letter-alert: no alert watches staging-user-service-dead-letter",
                "dead-letter-alert: no alert watches staging-crm-service-dead-letter",
            ],
        ),
        (
            |input| {
                let filter = &mut values(input, ALERT)["conditions"][0]["condition_threshold"][0]["filter"];
                *filter = json!(filter.as_str().unwrap_or_default().replace("staging-crm", "crm"));
            },
            &["dead-letter-alert: no alert watches staging-crm-service-dead-letter"],
        ),
        (
            |input| values(input, ALERT)["enabled"] = json!(false),
            &[
                "dead-letter-alert: no alert watches staging-user-service-dead-letter",
                "dead-letter-alert: no alert watches staging-crm-service-dead-letter",
            ],
        ),
    ]
}

pub(crate) fn receipts() -> Vec<Case> {
    vec![
        (
            |input| remove(input, TTL),
            &["ttl: receipts.expireAt in the database staging-data has no TTL policy"],
        ),
        (
            |input| values(input, TTL)["database"] = json!("(default)"),
            &["ttl: receipts.expireAt in the database staging-data has no TTL policy"],
        ),
        (
            |input| values(input, TTL)["ttl_config"] = json!([]),
            &["ttl: receipts.expireAt in the database staging-data has no TTL policy"],
        ),
        (
            |input| values(input, TTL)["index_config"] = json!([]),
            &["receipt-index: receipts.expireAt in the database staging-data is indexed"],
        ),
        (
            |input| values(input, TTL)["index_config"][0]["indexes"] = json!([{ "order": "ASCENDING" }]),
            &["receipt-index: receipts.expireAt in the database staging-data is indexed"],
        ),
        (
            |input| remove(input, "google_firestore_field.receipts_unindexed[\"createdAt\"]"),
            &["receipt-index: receipts.createdAt in the database staging-data is indexed"],
        ),
    ]
}
