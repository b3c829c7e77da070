//! What the runtime, Pub/Sub and Cloud Run demand of values and names.

use ::catalog::Catalog;

use super::Finding;

const TIMING: &str = "shared/pushbox/src/timing.rs";

/// handler < lease < ack deadline <= request timeout.
pub(super) fn timing(catalog: &Catalog) -> Vec<Finding> {
    let timing = &catalog.timing;
    let (handler, lease) = (timing.handler_seconds, timing.lease_seconds);
    let (ack_deadline, request) = (timing.ack_deadline_seconds, timing.request_timeout_seconds);
    let mut findings = Vec::new();
    if handler >= lease {
        findings.push(Finding::new(
            format!("the lease ({lease} s) is not longer than the handler's deadline ({handler} s)"),
            "somebody takes an effect over while it still runs, and it happens twice",
            format!("make leaseSeconds longer than handlerSeconds, in {TIMING}"),
        ));
    }
    if lease >= ack_deadline {
        findings.push(Finding::new(
            format!("the ack deadline ({ack_deadline} s) is not longer than the lease ({lease} s)"),
            "a redelivery comes while the claim still holds, waits in vain, and burns an attempt",
            format!("make ackDeadlineSeconds longer than leaseSeconds, in {TIMING}"),
        ));
    }
    if ack_deadline > request {
        findings.push(Finding::new(
            format!("the request timeout ({request} s) is shorter than the ack deadline ({ack_deadline} s)"),
            "Cloud Run cuts off deliveries that Pub/Sub still waits for",
            format!("make requestTimeoutSeconds at least ackDeadlineSeconds, in {TIMING}"),
        ));
    }
    findings
}

/// <https://cloud.google.com/pubsub/docs/subscription-properties>
pub(super) fn limits(catalog: &Catalog) -> Vec<Finding> {
    const DAY: u64 = 24 * 60 * 60;
    let (timing, delivery) = (&catalog.timing, &catalog.delivery);
    let values = [
        ("ackDeadlineSeconds", timing.ack_deadline_seconds, 10, 600),
        ("requestTimeoutSeconds", timing.request_timeout_seconds, 1, 3600),
        ("maxDeliveryAttempts", delivery.max_delivery_attempts.into(), 5, 100),
        ("minBackoffSeconds", delivery.min_backoff_seconds, 0, 600),
        ("maxBackoffSeconds", delivery.max_backoff_seconds, delivery.min_backoff_seconds.min(600), 600),
        ("retentionSeconds", delivery.retention_seconds, 600, 31 * DAY),
        ("deadLetterRetentionSeconds", delivery.dead_letter_retention_seconds, 600, 31 * DAY),
    ];
    let outside = values.iter().filter(|(_, value, min, max)| value < min || value > max);
    outside
        .map(|(name, value, min, max)| {
            Finding::new(
                format!("{name} is {value}"),
                "Google refuses it, and the deployment stops half-way",
                format!("choose a value from {min} to {max}, in {TIMING}"),
            )
        })
        .collect()
}

pub(super) fn names(catalog: &Catalog) -> Vec<Finding> {
    let services = catalog.services.iter().map(|service| ("the service", &service.name));
    let topics = catalog.topics.iter().map(|topic| ("the topic", &topic.name));
    let others = catalog.services.iter().flat_map(|service| {
        let subscriptions = service.subscriptions.iter();
        let subscriptions = subscriptions.map(|subscription| ("the subscription", &subscription.name));
        subscriptions.chain([("the dead-letter topic", &service.dead_letter_topic)])
    });
    let refused = |(what, name): (&str, &String)| {
        let (is_good, rule) = match what {
            "the service" => (is_service_name(name), SERVICE_NAME),
            _ => (is_resource_name(name), RESOURCE_NAME),
        };
        (!is_good).then(|| {
            Finding::new(
                format!("{what} cannot be named {name:?}"),
                "Google refuses it, and the deployment stops half-way",
                rule,
            )
        })
    };
    services.chain(topics).chain(others).filter_map(refused).collect()
}

const SERVICE_NAME: &str = "take at most 49 lower-case letters, digits and hyphens, a letter first, no hyphen last, not beginning with goog";
const RESOURCE_NAME: &str =
    "take 3 to 255 letters, digits and -._~+%, a letter first, not beginning with goog";

/// <https://cloud.google.com/run/docs/deploying#services>
fn is_service_name(name: &str) -> bool {
    name.len() <= 49
        && name.starts_with(|char: char| char.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.starts_with("goog")
        && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-')
}

/// <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>
fn is_resource_name(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.starts_with(|char: char| char.is_ascii_alphabetic())
        && !name.starts_with("goog")
        && name.chars().all(|char| char.is_ascii_alphanumeric() || "-._~+%".contains(char))
}
