//! The wiring of the catalog: publishers, handlers, topics and filters.

use std::collections::{BTreeMap, BTreeSet};

use ::catalog::{Catalog, ServiceEntry, Subscription};
use local::broker;

use super::Finding;

/// <https://cloud.google.com/pubsub/docs/subscription-message-filter>
const MAX_FILTER_BYTES: usize = 256;

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
            Finding::warning(
                format!("{} publishes {event}, which no service handles", service.name),
                "the event has no effect, unless a service of another project handles it",
                format!("add a consumer (.on or .effect), or remove .publishes of {event}"),
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
                format!("{} waits for {event}, which no service publishes", subscription.name),
                "its handler never runs",
                format!("declare .publishes of {event} in its publisher, or remove the handler"),
            )
        })
        .collect()
}

pub(super) fn wrong_topic(catalog: &Catalog) -> Vec<Finding> {
    let topics: BTreeMap<&String, &String> =
        catalog.events.iter().map(|event| (&event.r#type, &event.topic)).collect();
    let handled = subscriptions(catalog).flat_map(|(_, subscription)| {
        let is_elsewhere =
            |event: &&String| topics.get(*event).is_some_and(|topic| **topic != subscription.topic);
        subscription.handles.iter().filter(is_elsewhere).map(|event| {
            let (name, topic) = (&subscription.name, &subscription.topic);
            Finding::new(
                format!("{name} waits for {event} on {topic}, but the event's topic is {}", topics[event]),
                "its handler never runs",
                format!("subscribe to {}", topics[event]),
            )
        })
    });
    let published = catalog.services.iter().flat_map(|service| {
        let is_elsewhere =
            |event: &&String| topics.get(*event).is_some_and(|topic| !service.publishes_to.contains(topic));
        service.publishes.iter().filter(is_elsewhere).map(|event| {
            Finding::new(
                format!(
                    "{} publishes {event}, but {} is not in its publishesTo",
                    service.name, topics[event]
                ),
                "the service gets no grant for this topic, so every relay of the event fails",
                format!("add {} to publishesTo", topics[event]),
            )
        })
    });
    handled.chain(published).collect()
}

pub(super) fn second_subscription(catalog: &Catalog) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    subscriptions(catalog)
        .filter(|(service, subscription)| !seen.insert((&service.name, &subscription.topic)))
        .map(|(service, subscription)| {
            let (name, topic) = (&service.name, &subscription.topic);
            Finding::new(
                format!("{} is a second subscription of {name} to {topic}", subscription.name),
                "Pub/Sub delivers each message twice, and charges for it twice",
                format!("give {name} one subscription to {topic} with a filter for all its events"),
            )
        })
        .collect()
}

pub(super) fn shared_names(catalog: &Catalog) -> Vec<Finding> {
    let topics = catalog.topics.iter().map(|topic| ("topics", &topic.name));
    let services = catalog.services.iter().flat_map(|service| {
        let subscriptions = service.subscriptions.iter().map(|each| ("subscriptions", &each.name));
        // A dead-letter topic has a subscription with the same name.
        let dead_letters = ["topics", "subscriptions"].map(|kind| (kind, &service.dead_letter_topic));
        subscriptions.chain(dead_letters).chain([("services", &service.name)])
    });
    let mut seen = BTreeSet::new();
    let mut duplicates: Vec<(&str, &String)> =
        topics.chain(services).filter(|named| !seen.insert(*named)).collect();
    duplicates.dedup_by_key(|(_, name)| *name);
    let finding = |(kind, name): (&str, &String)| {
        Finding::new(
            format!("two {kind} are named {name}"),
            "one replaces the other and receives its messages",
            "give each service a unique name; the names of its subscriptions and dead letters derive from it",
        )
    };
    duplicates.into_iter().map(finding).collect()
}

pub(super) fn filter_length(catalog: &Catalog) -> Vec<Finding> {
    let too_long = subscriptions(catalog).filter(|(_, each)| each.filter.len() > MAX_FILTER_BYTES);
    too_long
        .map(|(service, subscription)| {
            Finding::new(
                format!("the filter of {} has {} bytes", subscription.name, subscription.filter.len()),
                "Pub/Sub rejects the filter, and the deployment stops half-way",
                format!(
                    "use at most {MAX_FILTER_BYTES} bytes: split {}, or shorten the event types",
                    service.name
                ),
            )
        })
        .collect()
}

pub(super) fn filter(catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, subscription) in subscriptions(catalog).filter(|(_, each)| each.filter.len() <= MAX_FILTER_BYTES)
    {
        let types =
            subscription.handles.iter().map(|event| (event.as_str(), vec![("ce-type", event.as_str())]));
        let untyped = ("messages without attributes, such as those published by hand", vec![]);
        for (messages, attributes) in types.chain([untyped]) {
            let problem = match broker::passes(&subscription.filter, &attributes) {
                Ok(true) => continue,
                Ok(false) => format!("the filter of {} does not pass {messages}", subscription.name),
                Err(invalid) => format!("{}: {invalid}", subscription.name),
            };
            findings.push(Finding::new(
                problem,
                "Pub/Sub acknowledges messages that the filter drops, so the service never receives them",
                format!("use the filter that the catalog generates for {}", subscription.handles.join(", ")),
            ));
        }
    }
    findings.dedup_by(|next, last| next.problem == last.problem);
    findings
}
