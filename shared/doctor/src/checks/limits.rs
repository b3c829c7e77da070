//! The rules of the runtime, Pub/Sub and Cloud Run for values and names.

use ::catalog::Catalog;

use super::Finding;

pub(super) const TIMING_SOURCE: &str = "shared/pushbox/src/timing.rs";

/// handler < lease < ack deadline <= request timeout.
pub(super) fn timing(catalog: &Catalog) -> Vec<Finding> {
    let timing = &catalog.timing;
    let (handler, lease) = (timing.handler_seconds, timing.lease_seconds);
    let (ack_deadline, request) = (timing.ack_deadline_seconds, timing.request_timeout_seconds);
    let mut findings = Vec::new();
    if handler >= lease {
        findings.push(Finding::new(
            format!("the lease ({lease} s) is not longer than the handler's deadline ({handler} s)"),
            "another delivery repeats an effect that is still running, so it happens twice",
            format!("make leaseSeconds longer than handlerSeconds, in {TIMING_SOURCE}"),
        ));
    }
    if lease >= ack_deadline {
        findings.push(Finding::new(
            format!("the ack deadline ({ack_deadline} s) is not longer than the lease ({lease} s)"),
            "a redelivery arrives before the lease ends, waits in vain, and uses up a delivery attempt",
            format!("make ackDeadlineSeconds longer than leaseSeconds, in {TIMING_SOURCE}"),
        ));
    }
    if ack_deadline > request {
        findings.push(Finding::new(
            format!("the request timeout ({request} s) is shorter than the ack deadline ({ack_deadline} s)"),
            "Cloud Run ends deliveries while Pub/Sub still waits for the answer",
            format!("make requestTimeoutSeconds at least as long as ackDeadlineSeconds, in {TIMING_SOURCE}"),
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
                "Google rejects the value, and the deployment stops half-way",
                format!("choose a value from {min} to {max}, in {TIMING_SOURCE}"),
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
    let finding = |(kind, name): (&str, &String)| {
        let (is_valid, rule) = match kind {
            "the service" => (is_service_name(name), SERVICE_NAME),
            _ => (is_resource_name(name), RESOURCE_NAME),
        };
        (!is_valid).then(|| {
            Finding::new(
                format!("{kind} cannot be named {name:?}"),
                "Google rejects the name, and the deployment stops half-way",
                rule,
            )
        })
    };
    services.chain(topics).chain(others).filter_map(finding).collect()
}

const SERVICE_NAME: &str = "use at most 49 lower-case letters, digits and hyphens; \
    begin with a letter, but not with goog; do not end with a hyphen";
const RESOURCE_NAME: &str = "use 3 to 255 letters, digits and -._~+%; begin with a letter, but not with goog";

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
