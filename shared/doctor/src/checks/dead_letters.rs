//! Whether what cannot be handled is parked, kept and heard of.

use ::catalog::Catalog;

use super::{Finding, subscriptions::found};
use crate::plan::{Plan, UNKNOWN};

pub(super) fn policy(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    found(catalog, plan)
        .filter_map(|(_, wanted, found)| {
            let (name, topic) = (&wanted.name, &wanted.dead_letter_topic);
            let problem = match &found.dead_letters {
                None => format!("{name} has no dead-letter policy"),
                Some(policy) if policy.topic.as_ref() == Some(topic) || plan.topic(topic).is_none() => return None,
                Some(policy) => format!("{name} parks in {}", policy.topic.as_deref().unwrap_or(UNKNOWN)),
            };
            Some(Finding::new(
                problem,
                "a message that its service fails on comes back until it is lost, or is parked where nobody looks",
                format!("give it a dead_letter_policy with the topic {topic}"),
            ))
        })
        .collect()
}

/// The dead-letter topics that there are.
pub(super) fn topics<'a>(catalog: &'a Catalog, plan: &'a Plan) -> impl Iterator<Item = &'a String> {
    let services = catalog.services.iter().filter(|service| !service.subscriptions.is_empty());
    services.map(|service| &service.dead_letter_topic).filter(|topic| plan.topic(topic).is_some())
}

pub(super) fn holder(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let wanted = catalog.delivery.dead_letter_retention_seconds;
    topics(catalog, plan)
        .filter_map(|topic| {
            let longest = plan.holders(topic).map(|holder| holder.retention_seconds).max();
            let problem = match longest {
                None => format!("no subscription holds the messages of {topic}"),
                Some(seconds) if seconds >= wanted => return None,
                Some(seconds) => format!("{topic} is held for {seconds} s only"),
            };
            Some(Finding::new(
                problem,
                "a topic keeps nothing for a subscription that is not there: dead letters are lost",
                format!(
                    "give it a subscription without push, with message_retention_duration = \"{wanted}s\""
                ),
            ))
        })
        .collect()
}

pub(super) fn alert(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let watches = |filter: &String, holder: &str| {
        filter.contains("subscription/num_undelivered_messages")
            && (filter.contains(&format!("\"{holder}\"")) || !filter.contains("subscription_id"))
    };
    topics(catalog, plan)
        .flat_map(|topic| plan.holders(topic))
        .filter(|holder| {
            let mut filters = plan.alerts.iter().filter(|alert| alert.enabled).flat_map(|alert| &alert.filters);
            !filters.any(|filter| watches(filter, &holder.name))
        })
        .map(|holder| {
            Finding::new(
                format!("no alert watches {}", holder.name),
                "a customer finds the lost message, weeks later or never",
                "name it in the filter of an enabled google_monitoring_alert_policy on subscription/num_undelivered_messages",
            )
        })
        .collect()
}
