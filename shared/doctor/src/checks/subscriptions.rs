//! Subscriptions: whether each one delivers the right messages to its service.

use ::catalog::{Catalog, ServiceEntry, Subscription as CatalogSubscription};

use super::Finding;
use crate::plan::{Delivery, Plan, Subscription, UNKNOWN, Wrapping};

/// Each subscription of the catalog with its counterpart in the plan; `missing` finds those without one.
pub(super) fn matched<'a>(
    catalog: &'a Catalog,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a ServiceEntry, &'a CatalogSubscription, &'a Subscription)> {
    catalog.services.iter().flat_map(move |service| {
        let expected = service.subscriptions.iter();
        expected.filter_map(move |expected| Some((service, expected, plan.subscription(&expected.name)?)))
    })
}

pub(super) fn topic(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    matched(catalog, plan)
        .filter(|(_, expected, _)| plan.topic(&expected.topic).is_some())
        .filter(|(_, expected, actual)| actual.topic.as_ref() != Some(&expected.topic))
        .map(|(_, expected, actual)| {
            let topic = actual.topic.as_deref().unwrap_or(UNKNOWN);
            Finding::new(
                format!("{} is a subscription to {topic}", expected.name),
                "its service never receives its events",
                format!("subscribe to {}", expected.topic),
            )
        })
        .collect()
}

pub(super) fn filter(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    matched(catalog, plan)
        .filter(|(_, expected, actual)| actual.filter != expected.filter)
        .map(|(_, expected, actual)| {
            Finding::new(
                format!("the filter of {} is `{}`", expected.name, actual.filter),
                "Pub/Sub acknowledges messages that the filter drops, so the service never receives them",
                format!(
                    "set it to `{}`; Terraform replaces the subscription, because a filter cannot change",
                    expected.filter
                ),
            )
        })
        .collect()
}

pub(super) fn ack_deadline(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let lease = catalog.timing.lease_seconds;
    matched(catalog, plan)
        .filter(|(_, _, actual)| actual.ack_deadline_seconds <= lease)
        .map(|(_, expected, actual)| {
            let ack_deadline = actual.ack_deadline_seconds;
            Finding::new(
                format!(
                    "the ack deadline of {} ({ack_deadline} s) is not longer than the lease ({lease} s)",
                    expected.name
                ),
                "a redelivery arrives before the lease ends, waits in vain, and uses up a delivery attempt",
                format!("set ack_deadline_seconds to {}", catalog.timing.ack_deadline_seconds),
            )
        })
        .collect()
}

pub(super) fn retry_policy(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const CONSEQUENCE: &str =
        "this sets how long a service may be down before its messages become dead letters";
    let rules = &catalog.delivery;
    let (min, max) = (rules.min_backoff_seconds, rules.max_backoff_seconds);
    let attempts = u64::from(rules.max_delivery_attempts);
    let mut findings = Vec::new();
    for (_, expected, actual) in matched(catalog, plan) {
        let name = &expected.name;
        if actual.backoff_seconds != Some((min, max)) {
            let backoff = match actual.backoff_seconds {
                Some((min, max)) => format!("after {min} to {max} s"),
                None => "without a backoff".to_owned(),
            };
            findings.push(Finding::new(
                format!("{name} redelivers {backoff}"),
                CONSEQUENCE,
                format!("add a retry_policy with a backoff from {min} to {max} s"),
            ));
        }
        if let Some(policy) =
            actual.dead_letters.as_ref().filter(|policy| policy.max_delivery_attempts != attempts)
        {
            findings.push(Finding::new(
                format!("{name} gives up after {} deliveries", policy.max_delivery_attempts),
                CONSEQUENCE,
                format!("set max_delivery_attempts to {attempts}"),
            ));
        }
    }
    findings
}

pub(super) fn retention(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let expected = catalog.delivery.retention_seconds;
    let compare = |resource: String, actual: u64| {
        (actual != expected).then(|| {
            Finding::new(
                format!("{resource} keeps messages for {actual} s"),
                "a shorter time loses messages in a long outage; a longer time outlasts the receipts",
                format!("set message_retention_duration to {expected}s"),
            )
        })
    };
    let topics = catalog.topics.iter().filter_map(|topic| plan.topic(&topic.name));
    let topics = topics.filter_map(|topic| {
        compare(format!("the topic {}", topic.name), topic.retention_seconds.unwrap_or(0))
    });
    let subscriptions = matched(catalog, plan).filter_map(|(_, _, actual)| {
        compare(format!("the subscription {}", actual.name), actual.retention_seconds)
    });
    topics.chain(subscriptions).collect()
}

pub(super) fn expiry(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let pushes = matched(catalog, plan).map(|(_, _, actual)| actual);
    let holders = catalog.services.iter().flat_map(|service| plan.holders(&service.dead_letter_topic));
    pushes
        .chain(holders)
        .filter(|subscription| subscription.expires)
        .map(|subscription| {
            Finding::new(
                format!("the subscription {} expires when it is unused", subscription.name),
                "after a quiet time Pub/Sub deletes it; later messages are lost, and nothing fails",
                "add an expiration_policy with ttl = \"\"",
            )
        })
        .collect()
}

pub(super) fn push_endpoint(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    matched(catalog, plan)
        .filter(|(service, _, _)| plan.service(&service.name).is_some())
        .filter_map(|(service, expected, actual)| {
            let problem = match &actual.push {
                None => "has no push endpoint".to_owned(),
                Some(push) if push.reaches(&service.name, "/") => return None,
                Some(push) => format!("pushes to {}", push.destination()),
            };
            Some(Finding::new(
                format!("{} {problem}", expected.name),
                "its service receives nothing, and the messages pile up or become dead letters",
                format!("set its push_endpoint to the URL of {}, followed by /", service.name),
            ))
        })
        .collect()
}

pub(super) fn push_form(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    matched(catalog, plan)
        .filter_map(|(_, expected, actual)| {
            let name = &expected.name;
            let remedy = "remove no_wrapper";
            match actual.wrapping {
                Wrapping::Wrapped => None,
                Wrapping::Headers => Some(Finding::warning(
                    format!("{name} pushes attributes as headers"),
                    "a message whose attributes are too large for headers never arrives",
                    remedy,
                )),
                Wrapping::DataOnly => Some(Finding::new(
                    format!("{name} pushes the data without the attributes"),
                    "the service knows neither the key nor the message, so it handles duplicates again",
                    remedy,
                )),
            }
        })
        .collect()
}

pub(super) fn second_delivery(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let is_declared = |name: &String| matched(catalog, plan).any(|(_, expected, _)| expected.name == *name);
    let mut findings = Vec::new();
    for subscription in plan.subscriptions.iter().filter(|subscription| !is_declared(&subscription.name)) {
        let Some(service) = subscription.push.as_ref().and_then(|push| push.service.as_ref()) else {
            continue;
        };
        if catalog.services.iter().any(|entry| entry.name == *service) {
            findings.push(Finding::new(
                format!("{} pushes to {service}, and the catalog does not declare it", subscription.name),
                "each message is delivered and charged twice, or is an event that the service does not expect",
                "remove the subscription, or declare .on in the service",
            ));
        }
    }
    findings
}

/// The deliveries to services, by a push subscription or a relay job, each with its service and name.
pub(super) fn deliveries<'a>(
    catalog: &'a Catalog,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a ServiceEntry, &'a str, &'a Delivery)> {
    let pushes = matched(catalog, plan)
        .filter_map(|(service, _, actual)| Some((service, actual.name.as_str(), actual.push.as_ref()?)));
    let relays = catalog.services.iter().filter(|service| service.relays).flat_map(|service| {
        plan.relay_jobs(&service.name).map(move |job| (service, job.name.as_str(), &job.delivery))
    });
    pushes.chain(relays)
}

pub(super) fn push_token(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const REJECTED: &str = "every delivery is rejected, and the messages become dead letters";
    let mut findings = Vec::new();
    for (entry, name, delivery) in deliveries(catalog, plan) {
        let Some(service) = plan.service(&entry.name) else { continue };
        let Some(token) = &delivery.token else {
            findings.push(Finding::new(
                format!("{name} delivers to {} without a token", entry.name),
                REJECTED,
                "add an oidc_token with the service's delivery identity",
            ));
            continue;
        };
        let audience = token.audience.as_ref();
        let service_checks = service.variable("PUSH_AUTH") == Some("oidc");
        let is_accepted = match (service_checks, audience) {
            (true, Some(audience)) => service.variable("PUSH_AUDIENCE") == Some(audience),
            (false, Some(audience)) => {
                service.custom_audiences.contains(audience) || service.urls.contains(audience)
            }
            (_, None) => false,
        };
        if !is_accepted {
            let actual = audience.map_or(UNKNOWN, String::as_str);
            let expected = if service_checks { "PUSH_AUDIENCE" } else { "a custom audience" };
            findings.push(Finding::new(
                format!("the tokens of {name} are for {actual}, which is not {expected} of {}", entry.name),
                REJECTED,
                "use the same audience in both",
            ));
        }
        let account = token.account.as_deref().unwrap_or(UNKNOWN);
        if service.variable("PUSH_SERVICE_ACCOUNT") != Some(account) {
            findings.push(Finding::new(
                format!("{name} delivers as {account}, which is not PUSH_SERVICE_ACCOUNT of {}", entry.name),
                REJECTED,
                "use the service's delivery identity in both",
            ));
        }
    }
    findings
}
