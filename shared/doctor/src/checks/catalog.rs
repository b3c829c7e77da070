//! Who publishes and who handles what.

use std::collections::{BTreeMap, BTreeSet};

use ::catalog::{Catalog, ServiceEntry, Subscription};
use local::broker;

use super::Finding;

/// In bytes. <https://cloud.google.com/pubsub/docs/subscription-message-filter>
const LONGEST_FILTER: usize = 256;

fn subscriptions(catalog: &Catalog) -> impl Iterator<Item = (&ServiceEntry, &Subscription)> {
    catalog.services.iter().flat_map(|service| service.subscriptions.iter().map(move |each| (service, each)))
}

pub(super) fn unhandled(catalog: &Catalog) -> Vec<Finding> {
    let handled: BTreeSet<&String> = subscriptions(catalog).flat_map(|(_, each)| &each.handles).collect();
    let published =
        catalog.services.iter().flat_map(|service| service.publishes.iter().map(move |e| (service, e)));
    published
        .filter(|(_, event)| !handled.contains(event))
        .map(|(service, event)| {
            Finding::new(
                format!("{} publishes {event}, which nobody handles", service.name),
                "what should follow from it never happens",
                format!("write the consumer (.on or .effect), or remove .publishes of {event}"),
            )
        })
        .collect()
}

pub(super) fn unpublished(catalog: &Catalog) -> Vec<Finding> {
    let published: BTreeSet<&String> = catalog.services.iter().flat_map(|each| &each.publishes).collect();
    subscriptions(catalog)
        .flat_map(|(_, subscription)| subscription.handles.iter().map(move |event| (subscription, event)))
        .filter(|(_, event)| !published.contains(event))
        .map(|(subscription, event)| {
            Finding::new(
                format!("{} waits for {event}, which nobody publishes", subscription.name),
                "its handler never runs",
                format!("declare .publishes of {event} where it happens, or remove the handler"),
            )
        })
        .collect()
}

pub(super) fn wrong_topic(catalog: &Catalog) -> Vec<Finding> {
    let topics: BTreeMap<&String, &String> =
        catalog.events.iter().map(|event| (&event.r#type, &event.topic)).collect();
    let awaited = subscriptions(catalog).flat_map(|(_, subscription)| {
        let elsewhere =
            |event: &&String| topics.get(*event).is_some_and(|topic| **topic != subscription.topic);
        subscription.handles.iter().filter(elsewhere).map(|event| {
            let (name, listens) = (&subscription.name, &subscription.topic);
            Finding::new(
                format!("{name} awaits {event} on {listens}, but it is published to {}", topics[event]),
                "its handler never runs",
                format!("subscribe to {}", topics[event]),
            )
        })
    });
    let published = catalog.services.iter().flat_map(|service| {
        let elsewhere =
            |event: &&String| topics.get(*event).is_some_and(|topic| !service.publishes_to.contains(topic));
        service.publishes.iter().filter(elsewhere).map(|event| {
            Finding::new(
                format!(
                    "{} publishes {event}, but {} is not in its publishesTo",
                    service.name, topics[event]
                ),
                "it gets no grant to publish there, so each relay of its events fails",
                format!("add {} to publishesTo", topics[event]),
            )
        })
    });
    awaited.chain(published).collect()
}

pub(super) fn second_subscription(catalog: &Catalog) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    subscriptions(catalog)
        .filter(|(service, subscription)| !seen.insert((&service.name, &subscription.topic)))
        .map(|(service, subscription)| {
            let (name, topic) = (&service.name, &subscription.topic);
            Finding::new(
                format!("{} is a second subscription of {name} to {topic}", subscription.name),
                "each message is delivered and paid for twice",
                format!("give {name} one subscription to {topic} whose filter passes all that it handles"),
            )
        })
        .collect()
}

pub(super) fn shared_names(catalog: &Catalog) -> Vec<Finding> {
    let topics = catalog.topics.iter().map(|topic| ("topics", &topic.name));
    let services = catalog.services.iter().flat_map(|service| {
        let subscriptions = service.subscriptions.iter().map(|each| ("subscriptions", &each.name));
        // A dead-letter topic has a subscription of the same name.
        let dead_letters = ["topics", "subscriptions"].map(|what| (what, &service.dead_letter_topic));
        subscriptions.chain(dead_letters).chain([("services", &service.name)])
    });
    let mut seen = BTreeSet::new();
    let taken = topics.chain(services).filter(|named| !seen.insert(*named));
    let mut names: Vec<(&str, &String)> = taken.collect();
    names.dedup_by_key(|(_, name)| *name);
    let shared = |(what, name): (&str, &String)| {
        Finding::new(
            format!("two {what} are named {name}"),
            "one replaces the other, and the messages of one end up with the other",
            "give each service a name of its own: the names of its subscriptions and dead letters follow",
        )
    };
    names.into_iter().map(shared).collect()
}

pub(super) fn filter_length(catalog: &Catalog) -> Vec<Finding> {
    let too_long = subscriptions(catalog).filter(|(_, each)| each.filter.len() > LONGEST_FILTER);
    too_long
        .map(|(service, subscription)| {
            Finding::new(
                format!("the filter of {} has {} bytes", subscription.name, subscription.filter.len()),
                "Pub/Sub refuses it, and the deployment stops half-way",
                format!("stay within {LONGEST_FILTER}: split {}, or shorten the types", service.name),
            )
        })
        .collect()
}

pub(super) fn filter(catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, subscription) in subscriptions(catalog).filter(|(_, each)| each.filter.len() <= LONGEST_FILTER) {
        let types =
            subscription.handles.iter().map(|event| (event.as_str(), vec![("ce-type", event.as_str())]));
        let by_hand = ("messages that somebody published by hand, without attributes", vec![]);
        for (what, attributes) in types.chain([by_hand]) {
            let problem = match broker::passes(&subscription.filter, &attributes) {
                Ok(true) => continue,
                Ok(false) => format!("the filter of {} does not pass {what}", subscription.name),
                Err(invalid) => format!("{}: {invalid}", subscription.name),
            };
            findings.push(Finding::new(
                problem,
                "Pub/Sub acknowledges what a filter holds back, and the service never sees it",
                format!("set it to what the catalog makes of {}", subscription.handles.join(", ")),
            ));
        }
    }
    findings.dedup_by(|next, last| next.what == last.what);
    findings
}
