//! Dead letters: where they go, how long they are kept, and the alert.

use ::catalog::Catalog;

use super::{Finding, subscriptions::matched};
use crate::plan::{Plan, UNKNOWN};

pub(super) fn policy(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    matched(catalog, plan)
        .filter_map(|(_, expected, actual)| {
            let (name, topic) = (&expected.name, &expected.dead_letter_topic);
            let problem = match &actual.dead_letters {
                None => format!("{name} has no dead-letter policy"),
                Some(policy) if policy.topic.as_ref() == Some(topic) || plan.topic(topic).is_none() => {
                    return None;
                }
                Some(policy) => {
                    format!("{name} sends dead letters to {}", policy.topic.as_deref().unwrap_or(UNKNOWN))
                }
            };
            Some(Finding::new(
                problem,
                "failing messages are redelivered until they are lost, or go to a topic without an alert",
                format!("add a dead_letter_policy with the topic {topic}"),
            ))
        })
        .collect()
}

/// The dead-letter topics that exist; `missing` finds the others.
pub(super) fn topics<'a>(catalog: &'a Catalog, plan: &'a Plan) -> impl Iterator<Item = &'a String> {
    let services = catalog.services.iter().filter(|service| !service.subscriptions.is_empty());
    services.map(|service| &service.dead_letter_topic).filter(|topic| plan.topic(topic).is_some())
}

pub(super) fn holder(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = unkept(catalog, plan);
    for holder in topics(catalog, plan).flat_map(|topic| plan.holders(topic)) {
        if holder.dead_letters.is_some() {
            findings.push(Finding::new(
                format!("{} has a dead-letter policy of its own", holder.name),
                "operators who look at a letter a few times move it away, to a topic that nobody watches",
                "remove its dead_letter_policy",
            ));
        }
    }
    findings
}

fn unkept(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let min_seconds = catalog.delivery.dead_letter_retention_seconds;
    topics(catalog, plan)
        .filter_map(|topic| {
            let unfiltered = plan.holders(topic).filter(|holder| holder.filter.is_empty());
            let longest = unfiltered.map(|holder| holder.retention_seconds).max();
            let problem = match (longest, plan.holders(topic).next()) {
                (Some(seconds), _) if seconds >= min_seconds => return None,
                (Some(seconds), _) => format!("the messages of {topic} are kept for only {seconds} s"),
                (None, Some(holder)) => {
                    format!("{} keeps only messages that pass `{}`", holder.name, holder.filter)
                }
                (None, None) => format!("no subscription keeps the messages of {topic}"),
            };
            Some(Finding::new(
                problem,
                "a dead letter is lost if no subscription keeps it",
                format!("add a pull subscription to it with message_retention_duration = \"{min_seconds}s\""),
            ))
        })
        .collect()
}
