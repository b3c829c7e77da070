//! Catalogs.

use serde_json::json;

use super::{Broken, push};

pub(crate) fn catalogs() -> Vec<Broken> {
    vec![
        (
            |it| it["timing"]["leaseSeconds"] = json!(15),
            &["timing: the lease (15 s) is not longer than the handler's deadline (15 s)"],
        ),
        (
            |it| it["timing"]["ackDeadlineSeconds"] = json!(20),
            &["timing: the ack deadline (20 s) is not longer than the lease (20 s)"],
        ),
        (
            |it| it["timing"]["requestTimeoutSeconds"] = json!(29),
            &["timing: the request timeout (29 s) is shorter than the ack deadline (30 s)"],
        ),
        (
            |it| it["timing"]["requestTimeoutSeconds"] = json!(3601),
            &["limits: requestTimeoutSeconds is 3601"],
        ),
        (
            |it| {
                it["timing"]["ackDeadlineSeconds"] = json!(601);
                it["timing"]["requestTimeoutSeconds"] = json!(601);
            },
            &["limits: ackDeadlineSeconds is 601"],
        ),
        (|it| it["delivery"]["maxDeliveryAttempts"] = json!(4), &["limits: maxDeliveryAttempts is 4"]),
        (|it| it["delivery"]["maxDeliveryAttempts"] = json!(101), &["limits: maxDeliveryAttempts is 101"]),
        (|it| it["delivery"]["maxBackoffSeconds"] = json!(601), &["limits: maxBackoffSeconds is 601"]),
        (|it| it["delivery"]["maxBackoffSeconds"] = json!(9), &["limits: maxBackoffSeconds is 9"]),
        (|it| it["delivery"]["retentionSeconds"] = json!(599), &["limits: retentionSeconds is 599"]),
        (
            |it| {
                it["delivery"]["deadLetterRetentionSeconds"] = json!(32 * 86400);
                it["receipts"]["keepSeconds"] = json!(50 * 86400);
            },
            &["limits: deadLetterRetentionSeconds is 2764800"],
        ),
        (
            |it| it["services"][2]["name"] = json!("audit-"),
            &["names: the service cannot be named \"audit-\""],
        ),
        (
            |it| it["services"][2]["name"] = json!("a".repeat(50)),
            &["names: the service cannot be named \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""],
        ),
        (
            |it| it["services"][2]["subscriptions"][0]["name"] = json!("audit/user"),
            &["names: the subscription cannot be named \"audit/user\""],
        ),
        (|it| it["topics"][0]["name"] = json!("goog"), &["names: the topic cannot be named \"goog\""]),
        (
            |it| it["services"][2]["deadLetterTopic"] = json!("x"),
            &["names: the dead-letter topic cannot be named \"x\""],
        ),
        (
            |it| it["receipts"]["keepSeconds"] = json!(3_887_999),
            &["receipts: receipts are kept for 44 days, but a message can come back after 45"],
        ),
        (
            |it| it["services"][0]["subscriptions"] = json!([]),
            &["unhandled-event: crm-service publishes contact.created, which nobody handles"],
        ),
        (
            |it| it["services"][0]["publishes"] = json!([]),
            &[
                "unpublished-event: crm-service-user-events waits for user.created, which nobody publishes",
                "unpublished-event: audit-service-user-events waits for user.created, which nobody publishes",
            ],
        ),
        (
            |it| it["services"][1]["subscriptions"][0]["topic"] = json!("log-events"),
            &[
                "wrong-topic: crm-service-user-events awaits user.created on log-events, but it is published to user-events",
            ],
        ),
        (
            |it| it["services"][1]["publishesTo"] = json!([]),
            &[
                "wrong-topic: crm-service publishes contact.created, but user-events is not in its publishesTo",
            ],
        ),
        (
            |it| {
                let mut second = it["services"][1]["subscriptions"][0].clone();
                second["name"] = json!("crm-service-again");
                push(&mut it["services"][1]["subscriptions"], second);
            },
            &[
                "second-subscription: crm-service-again is a second subscription of crm-service to user-events",
            ],
        ),
        (
            |it| it["services"][2]["deadLetterTopic"] = json!("crm-service-dead-letter"),
            &["shared-name: two topics are named crm-service-dead-letter"],
        ),
        (
            |it| it["services"][2]["subscriptions"][0]["name"] = json!("crm-service-user-events"),
            &["shared-name: two subscriptions are named crm-service-user-events"],
        ),
        (
            |it| {
                let filter = it["services"][1]["subscriptions"][0]["filter"].as_str().unwrap_or_default();
                let longer = format!("{filter}{}", " ".repeat(257 - filter.len()));
                it["services"][1]["subscriptions"][0]["filter"] = json!(longer);
            },
            &["filter-length: the filter of crm-service-user-events has 257 bytes"],
        ),
        (
            |it| it["services"][1]["subscriptions"][0]["filter"] = json!("NOT attributes:\"ce-type\""),
            &["filter: the filter of crm-service-user-events does not pass user.created"],
        ),
        (
            |it| {
                it["services"][1]["subscriptions"][0]["filter"] =
                    json!("attributes.\"ce-type\" = \"user.created\"");
            },
            &[
                "filter: the filter of crm-service-user-events does not pass messages that somebody published by hand, without attributes",
            ],
        ),
        (
            |it| it["services"][1]["subscriptions"][0]["filter"] = json!("ce-type = user.created"),
            &[
                "filter: crm-service-user-events: the filter `ce-type = user.created` is not valid: `ce-type` instead of `attributes`",
            ],
        ),
    ]
}
