//! Dead letters and receipts, of a plan or a state.

use serde_json::json;

use super::{ALERT, Broken, CRM, HOLDER, TTL, remove, values};

pub(crate) fn dead_letters() -> Vec<Broken> {
    vec![
        (
            |it| values(it, CRM)["dead_letter_policy"] = json!([]),
            &["dead-letter-policy: staging-crm-service-user-events has no dead-letter policy"],
        ),
        (
            |it| {
                values(it, CRM)["dead_letter_policy"][0]["dead_letter_topic"] =
                    json!("projects/demo-project/topics/staging-user-service-dead-letter");
            },
            &[
                "dead-letter-policy: staging-crm-service-user-events parks in staging-user-service-dead-letter",
            ],
        ),
        (
            |it| remove(it, HOLDER),
            &["dead-letter-holder: no subscription holds the messages of staging-crm-service-dead-letter"],
        ),
        (
            |it| values(it, HOLDER)["message_retention_duration"] = json!("604800s"),
            &["dead-letter-holder: staging-crm-service-dead-letter is held for 604800 s only"],
        ),
        (
            |it| remove(it, ALERT),
            &[
                "dead-letter-alert: no alert watches staging-user-service-dead-letter",
                "dead-letter-alert: no alert watches staging-crm-service-dead-letter",
            ],
        ),
        (
            |it| {
                let filter = &mut values(it, ALERT)["conditions"][0]["condition_threshold"][0]["filter"];
                *filter = json!(filter.as_str().unwrap_or_default().replace("staging-crm", "crm"));
            },
            &["dead-letter-alert: no alert watches staging-crm-service-dead-letter"],
        ),
        (
            |it| values(it, ALERT)["enabled"] = json!(false),
            &[
                "dead-letter-alert: no alert watches staging-user-service-dead-letter",
                "dead-letter-alert: no alert watches staging-crm-service-dead-letter",
            ],
        ),
    ]
}

pub(crate) fn receipts() -> Vec<Broken> {
    vec![
        (
            |it| remove(it, TTL),
            &[
                "ttl: nothing removes receipts: receipts.expireAt in the database staging-data has no TTL policy",
            ],
        ),
        (
            |it| values(it, TTL)["database"] = json!("(default)"),
            &[
                "ttl: nothing removes receipts: receipts.expireAt in the database staging-data has no TTL policy",
            ],
        ),
        (
            |it| values(it, TTL)["ttl_config"] = json!([]),
            &[
                "ttl: nothing removes receipts: receipts.expireAt in the database staging-data has no TTL policy",
            ],
        ),
        (
            |it| values(it, TTL)["index_config"] = json!([]),
            &["receipt-index: receipts.expireAt in the database staging-data is indexed"],
        ),
        (
            |it| values(it, TTL)["index_config"][0]["indexes"] = json!([{ "order": "ASCENDING" }]),
            &["receipt-index: receipts.expireAt in the database staging-data is indexed"],
        ),
        (
            |it| remove(it, "google_firestore_field.receipts_unindexed[\"createdAt\"]"),
            &["receipt-index: receipts.createdAt in the database staging-data is indexed"],
        ),
    ]
}
