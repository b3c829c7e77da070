//! Topics: whether every message gets through.

use ::catalog::Catalog;

use super::{Finding, subscriptions::matched};
use crate::plan::{Plan, Topic};

/// The topics of events and of dead letters.
fn topics<'a>(catalog: &'a Catalog, plan: &'a Plan) -> impl Iterator<Item = &'a Topic> {
    let events = catalog.topics.iter().map(|topic| &topic.name);
    let dead_letters = catalog.services.iter().map(|service| &service.dead_letter_topic);
    events.chain(dead_letters).filter_map(|name| plan.topic(name))
}

pub(super) fn schema(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    topics(catalog, plan)
        .filter(|topic| topic.has_schema)
        .map(|topic| {
            Finding::new(
                format!("the topic {} has a schema", topic.name),
                "Pub/Sub refuses messages that do not match, so events stay in receipts and dead letters are lost",
                "remove schema_settings: the services check the data, and reject it with a reason",
            )
        })
        .collect()
}

pub(super) fn transforms(catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let topics = topics(catalog, plan).filter(|topic| topic.transforms);
    let topics = topics.map(|topic| format!("the topic {}", topic.name));
    let pushes = matched(catalog, plan).map(|(_, _, actual)| actual);
    let holders = catalog.services.iter().flat_map(|service| plan.holders(&service.dead_letter_topic));
    let subscriptions = pushes.chain(holders).filter(|subscription| subscription.transforms);
    let subscriptions = subscriptions.map(|subscription| format!("the subscription {}", subscription.name));
    topics
        .chain(subscriptions)
        .map(|name| {
            Finding::new(
                format!("{name} has a message transform"),
                "its code can drop messages or change their type and key, and no log shows it",
                "remove message_transforms",
            )
        })
        .collect()
}
