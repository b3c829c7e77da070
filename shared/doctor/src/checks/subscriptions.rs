//! Whether each subscription delivers what the catalog says, to its service.

use ::catalog::{Catalog, ServiceEntry, Subscription as Wanted};

use super::Finding;
use crate::plan::{Delivery, Plan, Subscription, UNKNOWN};

/// The catalog's subscriptions that are there; `missing` finds the others.
pub(super) fn found<'a>(
    catalog: &'a Catalog,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a ServiceEntry, &'a Wanted, &'a Subscription)> {
    catalog.services.iter().flat_map(move |service| {
        let wanted = service.subscriptions.iter();
        wanted.filter_map(move |wanted| Some((service, wanted, plan.subscription(&wanted.name)?)))
    })
}

pub(super) fn topic(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    found(catalog, plan)
        .filter(|(_, wanted, _)| plan.topic(&wanted.topic).is_some())
        .filter(|(_, wanted, found)| found.topic.as_ref() != Some(&wanted.topic))
        .map(|(_, wanted, found)| {
            let topic = found.topic.as_deref().unwrap_or(UNKNOWN);
            Finding::new(
                format!("{} is a subscription to {topic}", wanted.name),
                "what its service waits for never comes",
                format!("subscribe to {}", wanted.topic),
            )
        })
        .collect()
}

pub(super) fn filter(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    found(catalog, plan)
        .filter(|(_, wanted, found)| found.filter != wanted.filter)
        .map(|(_, wanted, found)| {
            Finding::new(
                format!("the filter of {} is `{}`", wanted.name, found.filter),
                "Pub/Sub acknowledges what a filter holds back, and the service never sees it",
                format!(
                    "set it to `{}`; a filter cannot change, so this makes the subscription anew",
                    wanted.filter
                ),
            )
        })
        .collect()
}

pub(super) fn ack_deadline(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let lease = catalog.timing.lease_seconds;
    found(catalog, plan)
        .filter(|(_, _, found)| found.ack_deadline_seconds <= lease)
        .map(|(_, wanted, found)| {
            let ack_deadline = found.ack_deadline_seconds;
            Finding::new(
                format!(
                    "the ack deadline of {} ({ack_deadline} s) is not longer than the lease ({lease} s)",
                    wanted.name
                ),
                "a redelivery comes while the claim still holds, waits in vain, and burns an attempt",
                format!("set ack_deadline_seconds to {}", catalog.timing.ack_deadline_seconds),
            )
        })
        .collect()
}

pub(super) fn retry_policy(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let rules = &catalog.delivery;
    let (min, max) = (rules.min_backoff_seconds, rules.max_backoff_seconds);
    let attempts = u64::from(rules.max_delivery_attempts);
    let mut findings = Vec::new();
    for (_, wanted, found) in found(catalog, plan) {
        let name = &wanted.name;
        if found.backoff_seconds != Some((min, max)) {
            let pauses = match found.backoff_seconds {
                Some((min, max)) => format!("after {min} to {max} s"),
                None => "at once".to_owned(),
            };
            findings.push(Finding::new(
                format!("{name} redelivers {pauses}"),
                "how long a service may be down before its messages become dead letters hangs on it",
                format!("give it a retry_policy from {min} to {max} s"),
            ));
        }
        if let Some(policy) =
            found.dead_letters.as_ref().filter(|policy| policy.max_delivery_attempts != attempts)
        {
            findings.push(Finding::new(
                format!("{name} gives up after {} deliveries", policy.max_delivery_attempts),
                "how long a service may be down before its messages become dead letters hangs on it",
                format!("set max_delivery_attempts to {attempts}"),
            ));
        }
    }
    findings
}

pub(super) fn retention(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let wanted = catalog.delivery.retention_seconds;
    let differs = |what: String, seconds: u64| {
        (seconds != wanted).then(|| {
            Finding::new(
                format!("{what} keeps messages for {seconds} s"),
                "less loses them in a long outage; more lets them come back after their receipt is gone",
                format!("set message_retention_duration to {wanted}s"),
            )
        })
    };
    let topics = catalog.topics.iter().filter_map(|topic| plan.topic(&topic.name));
    let topics = topics.filter_map(|topic| {
        differs(format!("the topic {}", topic.name), topic.retention_seconds.unwrap_or(0))
    });
    let subscriptions = found(catalog, plan).filter_map(|(_, _, found)| {
        differs(format!("the subscription {}", found.name), found.retention_seconds)
    });
    topics.chain(subscriptions).collect()
}

pub(super) fn expiry(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let pushes = found(catalog, plan).map(|(_, _, found)| found);
    let holders = catalog.services.iter().flat_map(|service| plan.holders(&service.dead_letter_topic));
    pushes
        .chain(holders)
        .filter(|subscription| subscription.expires)
        .map(|subscription| {
            Finding::new(
                format!(
                    "the subscription {} expires when it has not been used for a while",
                    subscription.name
                ),
                "quiet systems are not dead ones: what comes afterwards is lost, and nothing fails",
                "give it an expiration_policy with ttl = \"\"",
            )
        })
        .collect()
}

pub(super) fn push_endpoint(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    found(catalog, plan)
        .filter(|(service, _, _)| plan.service(&service.name).is_some())
        .filter_map(|(service, wanted, found)| {
            let problem = match &found.push {
                None => "pushes to nobody".to_owned(),
                Some(push) if push.reaches(&service.name, "/") => return None,
                Some(push) => format!("pushes to {}", push.shown()),
            };
            Some(Finding::new(
                format!("{} {problem}", wanted.name),
                "its service gets nothing, and the messages end as dead letters or pile up",
                format!("set its push_endpoint to the URL of {}, followed by /", service.name),
            ))
        })
        .collect()
}

/// What is delivered to services by push or by job, each with its name.
pub(super) fn deliveries<'a>(
    catalog: &'a Catalog,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a ServiceEntry, &'a str, &'a Delivery)> {
    let pushes = found(catalog, plan)
        .filter_map(|(service, _, found)| Some((service, found.name.as_str(), found.push.as_ref()?)));
    let relays = catalog.services.iter().filter(|service| service.relays).flat_map(|service| {
        plan.relay_jobs(&service.name).map(move |job| (service, job.name.as_str(), &job.delivery))
    });
    pushes.chain(relays)
}

pub(super) fn push_token(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    const REFUSED: &str = "every delivery is refused, and the messages end as dead letters";
    let mut findings = Vec::new();
    for (service, name, delivery) in deliveries(catalog, plan) {
        let Some(run) = plan.service(&service.name) else { continue };
        let Some(token) = &delivery.token else {
            findings.push(Finding::new(
                format!("{name} delivers to {} without a token", service.name),
                REFUSED,
                "give it an oidc_token with the service's delivery identity",
            ));
            continue;
        };
        let audience = token.audience.as_ref();
        let checked_here = run.variable("PUSH_AUTH") == Some("oidc");
        let is_accepted = match (checked_here, audience) {
            (true, Some(audience)) => run.variable("PUSH_AUDIENCE") == Some(audience),
            (false, Some(audience)) => run.custom_audiences.contains(audience) || run.urls.contains(audience),
            (_, None) => false,
        };
        if !is_accepted {
            let shown = audience.map_or(UNKNOWN, String::as_str);
            let wanted = if checked_here { "PUSH_AUDIENCE" } else { "a custom audience" };
            findings.push(Finding::new(
                format!("the tokens of {name} are for {shown}, which is not {wanted} of {}", service.name),
                REFUSED,
                "set both to the same name",
            ));
        }
        let account = token.account.as_deref().unwrap_or(UNKNOWN);
        if checked_here && run.variable("PUSH_SERVICE_ACCOUNT") != Some(account) {
            findings.push(Finding::new(
                format!(
                    "{name} delivers as {account}, which is not PUSH_SERVICE_ACCOUNT of {}",
                    service.name
                ),
                REFUSED,
                "set both to the service's delivery identity",
            ));
        }
    }
    findings
}
