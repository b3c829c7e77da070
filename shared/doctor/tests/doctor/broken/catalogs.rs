//! Broken catalogs.

use serde_json::json;

use super::{Case, push};

pub(crate) fn catalogs() -> Vec<Case> {
    vec![
        (
            |input| input["timing"]["leaseSeconds"] = json!(15),
            &["timing: the lease (15 s) is not longer than the handler's deadline (15 s)"],
        ),
        (
            |input| input["timing"]["ackDeadlineSeconds"] = json!(20),
            &["timing: the ack deadline (20 s) is not longer than the lease (20 s)"],
        ),
        (
            |input| input["timing"]["requestTimeoutSeconds"] = json!(29),
            &["timing: the request timeout (29 s) is shorter than the ack deadline (30 s)"],
        ),
        (
            |input| input["timing"]["requestTimeoutSeconds"] = json!(3601),
            &["limits: requestTimeoutSeconds is 3601"],
        ),
        (
            |input| {
                input["timing"]["ackDeadlineSeconds"] = json!(601);
                input["timing"]["requestTimeoutSeconds"] = json!(601);
            },
            &["limits: ackDeadlineSeconds is 601"],
        ),
        (|input| input["delivery"]["maxDeliveryAttempts"] = json!(4), &["limits: maxDeliveryAttempts is 4"]),
        (
            |input| input["delivery"]["maxDeliveryAttempts"] = json!(101),
            &["limits: maxDeliveryAttempts is 101"],
        ),
        (|input| input["delivery"]["maxBackoffSeconds"] = json!(601), &["limits: maxBackoffSeconds is 601"]),
        (|input| input["delivery"]["maxBackoffSeconds"] = json!(9), &["limits: maxBackoffSeconds is 9"]),
        (|input| input["delivery"]["retentionSeconds"] = json!(599), &["limits: retentionSeconds is 599"]),
        (
            |input| {
                input["delivery"]["deadLetterRetentionSeconds"] = json!(32 * 86400);
                input["receipts"]["keepSeconds"] = json!(50 * 86400);
            },
            &["limits: deadLetterRetentionSeconds is 2764800"],
        ),
        (
            |input| input["services"][2]["name"] = json!("audit-"),
            &["names: the service cannot be named \"audit-\""],
        ),
        (
            |input| input["services"][2]["name"] = json!("a".repeat(50)),
            &["names: the service cannot be named \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""],
        ),
        (
            |input| input["services"][2]["subscriptions"][0]["name"] = json!("audit/user"),
            &["names: the subscription cannot be named \"audit/user\""],
        ),
        (|input| input["topics"][0]["name"] = json!("goog"), &["names: the topic cannot be named \"goog\""]),
        (
            |input| input["services"][2]["deadLetterTopic"] = json!("x"),
            &["names: the dead-letter topic cannot be named \"x\""],
        ),
        (
            |input| input["receipts"]["keepSeconds"] = json!(3_887_999),
            &["receipts: receipts are kept for 44 days, but a message can come back after 45 days"],
        ),
        (
            |input| input["services"][0]["subscriptions"] = json!([]),
            &["unhandled-event: warning: crm-service publishes contact.created, which no service handles"],
        ),
        (
            |input| input["services"][0]["publishes"] = json!([]),
            &[
                "unpublished-event: crm-service-user-events waits for user.created, which no service publishes",
                "unpublished-event: audit-service-user-events waits for user.created, which no service publishes",
            ],
        ),
        (
            |input| input["services"][1]["subscriptions"][0]["topic"] = json!("log-events"),
            &[
                "wrong-topic: crm-service-user-events waits for user.created on log-events, but the event's topic is user-events",
            ],
        ),
        (
            |input| input["services"][1]["publishesTo"] = json!([]),
            &[
                "wrong-topic: crm-service publishes contact.created, but user-events is not in its publishesTo",
            ],
        ),
        (
            |input| {
                let mut second = input["services"][1]["subscriptions"][0].clone();
                second["name"] = json!("crm-service-again");
                push(&mut input["services"][1]["subscriptions"], second);
            },
            &[
                "second-subscription: crm-service-again is a second subscription of crm-service to user-events",
            ],
        ),
        (
            |input| input["services"][2]["deadLetterTopic"] = json!("crm-service-dead-letter"),
            &["shared-name: two topics are named crm-service-dead-letter"],
        ),
        (
            |input| input["services"][2]["subscriptions"][0]["name"] = json!("crm-service-user-events"),
            &["shared-name: two subscriptions are named crm-service-user-events"],
        ),
        (
            |input| {
                let filter = input["services"][1]["subscriptions"][0]["filter"].as_str().unwrap_or_default();
                let longer = format!("{filter}{}", " ".repeat(257 - filter.len()));
                input["services"][1]["subscriptions"][0]["filter"] = json!(longer);
            },
            &["filter-length: the filter of crm-service-user-events has 257 bytes"],
        ),
        (
            |input| input["services"][1]["subscriptions"][0]["filter"] = json!("NOT attributes:\"ce-type\""),
            &["filter: the filter of crm-service-user-events does not pass user.created"],
        ),
        (
            |input| {
                input["services"][1]["subscriptions"][0]["filter"] =
                    json!("attributes.\"ce-type\" = \"user.created\"");
            },
            &[
                "filter: the filter of crm-service-user-events does not pass messages without attributes, such as those published by hand",
            ],
        ),
        (
            |input| input["services"][1]["subscriptions"][0]["filter"] = json!("ce-type = user.created"),
            &[
                "filter: crm-service-user-events: the filter `ce-type = user.created` is not valid: `ce-type` instead of `attributes`",
            ],
        ),
    ]
}
