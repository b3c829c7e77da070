//! The list of services, events, topics and subscriptions: what Terraform, the diagrams and the
//! documents are made from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Service, receipt, store::TTL_FIELD, timing};

/// Services that share a purpose and are deployed together.
pub struct System {
    /// Such as `signup`.
    pub name: &'static str,
    /// The services.
    pub services: Vec<Service>,
}

/// What there is, and how it is wired.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// How long things may take.
    pub timing: Timing,
    /// How Pub/Sub delivers, keeps and gives up.
    pub delivery: DeliveryRules,
    /// How long a receipt tells that something was handled.
    pub receipts: ReceiptRules,
    /// By name.
    pub topics: Vec<Topic>,
    /// By system, in the order in which the system lists them.
    pub services: Vec<ServiceEntry>,
    /// By type.
    pub events: Vec<EventEntry>,
}

/// handler < lease < ack deadline <= request timeout.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names of the constants in `timing`, which are documented")]
pub struct Timing {
    pub handler_seconds: u64,
    pub lease_seconds: u64,
    pub ack_deadline_seconds: u64,
    pub request_timeout_seconds: u64,
}

/// How Pub/Sub delivers, keeps and gives up.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names of the constants in `timing`, which are documented")]
pub struct DeliveryRules {
    pub min_backoff_seconds: u64,
    pub max_backoff_seconds: u64,
    pub max_delivery_attempts: u32,
    pub retention_seconds: u64,
    pub dead_letter_retention_seconds: u64,
}

/// Where receipts are, and how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptRules {
    /// The collection of each service that holds them.
    pub collection: String,
    /// The field that Firestore removes them by.
    pub ttl_field: String,
    /// How long they are kept.
    pub keep_seconds: u64,
    /// The fields that no query filters by, which need no index.
    pub unindexed: Vec<String>,
}

/// A topic and what it carries.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Topic {
    /// Its short name.
    pub name: String,
    /// The types of the events.
    pub events: Vec<String>,
}

/// A service and its wiring.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// Its name.
    pub name: String,
    /// The system that it belongs to.
    pub system: String,
    /// What it does.
    pub about: String,
    /// Everybody may reach it.
    pub public: bool,
    /// `POST /relay` must be called now and then.
    pub relays: bool,
    /// The types of the events that it publishes.
    pub publishes: Vec<String>,
    /// The topics that it publishes to.
    pub publishes_to: Vec<String>,
    /// One for each topic that it listens to.
    pub subscriptions: Vec<Subscription>,
    /// Where its dead letters go.
    pub dead_letter_topic: String,
    /// The environment variables that hold secrets.
    pub secrets: Vec<Secret>,
    /// Firestore's composite indexes that its queries need.
    pub indexes: Vec<Value>,
}

/// A push subscription.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its short name.
    pub name: String,
    /// The topic's short name.
    pub topic: String,
    /// The types of the events that it passes.
    pub handles: Vec<String>,
    /// Passes those types, and messages that somebody published by hand without attributes.
    pub filter: String,
    /// Where its dead letters go.
    pub dead_letter_topic: String,
}

/// A secret that a service gets as an environment variable.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Secret {
    /// The variable.
    pub env: String,
    /// The secret's name.
    pub secret: String,
}

/// An event, who publishes it and who handles it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventEntry {
    /// Its type.
    pub r#type: String,
    /// The topic that carries it.
    pub topic: String,
    /// The services that publish it.
    pub published_by: Vec<String>,
    /// The services that handle it.
    pub handled_by: Vec<String>,
    /// The data's JSON schema.
    pub schema: Value,
}

/// A service has one dead-letter topic; the subscription that holds its messages has the same name.
pub(crate) fn dead_letter_topic(service: &str) -> String {
    format!("{service}-dead-letter")
}

impl Catalog {
    /// The catalog of these systems.
    #[must_use]
    pub fn of(systems: &[System]) -> Self {
        let entries = systems
            .iter()
            .flat_map(|system| system.services.iter().map(|service| ServiceEntry::of(system.name, service)));
        let services: Vec<ServiceEntry> = entries.collect();
        let mut events = BTreeMap::new();
        for service in systems.iter().flat_map(|system| &system.services) {
            for event in service.publishes.values().chain(service.handles.values().map(|(event, _)| event)) {
                let schema = || (event.schema)().to_value();
                events.entry(event.name).or_insert_with(|| EventEntry {
                    r#type: event.name.to_owned(),
                    topic: event.topic.to_owned(),
                    published_by: Vec::new(),
                    handled_by: Vec::new(),
                    schema: schema(),
                });
            }
        }
        for service in &services {
            for name in &service.publishes {
                events.entry(name).and_modify(|event| event.published_by.push(service.name.clone()));
            }
            for name in service.subscriptions.iter().flat_map(|subscription| &subscription.handles) {
                events.entry(name).and_modify(|event| event.handled_by.push(service.name.clone()));
            }
        }
        let events: Vec<EventEntry> = events.into_values().collect();
        let mut topics = BTreeMap::<_, Vec<String>>::new();
        for event in &events {
            topics.entry(event.topic.clone()).or_default().push(event.r#type.clone());
        }
        Self {
            timing: Timing {
                handler_seconds: timing::HANDLER_DEADLINE.as_secs(),
                lease_seconds: timing::LEASE.as_secs(),
                ack_deadline_seconds: timing::ACK_DEADLINE.as_secs(),
                request_timeout_seconds: timing::REQUEST_TIMEOUT.as_secs(),
            },
            delivery: DeliveryRules {
                min_backoff_seconds: timing::BACKOFF.0.as_secs(),
                max_backoff_seconds: timing::BACKOFF.1.as_secs(),
                max_delivery_attempts: timing::MAX_DELIVERY_ATTEMPTS,
                retention_seconds: timing::RETENTION.as_secs(),
                dead_letter_retention_seconds: timing::DEAD_LETTER_RETENTION.as_secs(),
            },
            receipts: ReceiptRules {
                collection: receipt::COLLECTION.to_owned(),
                ttl_field: TTL_FIELD.to_owned(),
                keep_seconds: timing::RECEIPT_RETENTION.as_secs(),
                unindexed: receipt::UNINDEXED.map(str::to_owned).to_vec(),
            },
            topics: topics.into_iter().map(|(name, events)| Topic { name, events }).collect(),
            services,
            events,
        }
    }

    /// All topics, and this service alone.
    #[must_use]
    pub fn only(mut self, service: &str) -> Self {
        self.services.retain(|entry| entry.name == service);
        self
    }

    /// Which event flows from where to where, as a [Mermaid](https://mermaid.js.org) diagram.
    #[must_use]
    pub fn diagram(&self, system: &str) -> String {
        let mut lines = vec!["flowchart LR".to_owned()];
        for service in self.services.iter().filter(|service| service.system == system) {
            let (open, close) = if service.public { ("([", "])") } else { ("[", "]") };
            lines.push(format!("    {0}{open}{0}{close}", service.name));
        }
        for event in &self.events {
            for publisher in self.of_system(system, &event.published_by) {
                for handler in self.of_system(system, &event.handled_by) {
                    lines.push(format!("    {publisher} -- {} --> {handler}", event.r#type));
                }
            }
        }
        lines.join("\n") + "\n"
    }

    /// Who publishes and who handles which event, as a Markdown table.
    #[must_use]
    pub fn table(&self, system: &str) -> String {
        let mut lines =
            vec!["| event | topic | published by | handled by |".to_owned(), "|---|---|---|---|".to_owned()];
        for event in &self.events {
            let names = |services: &[String]| self.of_system(system, services).join(", ");
            let (published_by, handled_by) = (names(&event.published_by), names(&event.handled_by));
            if !published_by.is_empty() || !handled_by.is_empty() {
                lines.push(format!(
                    "| `{}` | `{}` | {published_by} | {handled_by} |",
                    event.r#type, event.topic
                ));
            }
        }
        lines.join("\n") + "\n"
    }

    fn of_system<'a>(&self, system: &str, names: &'a [String]) -> Vec<&'a str> {
        let is_member = |name: &&String| {
            self.services.iter().any(|service| service.system == system && service.name == **name)
        };
        names.iter().filter(is_member).map(String::as_str).collect()
    }
}

impl ServiceEntry {
    fn of(system: &str, service: &Service) -> Self {
        let publishes_to: BTreeSet<&str> = service.publishes.values().map(|event| event.topic).collect();
        let mut handles = BTreeMap::<&str, Vec<String>>::new();
        for (event, _) in service.handles.values() {
            handles.entry(event.topic).or_default().push(event.name.to_owned());
        }
        let subscription = |(topic, handles): (&str, Vec<String>)| Subscription {
            name: format!("{}-{topic}", service.name),
            topic: topic.to_owned(),
            filter: filter(&handles),
            handles,
            dead_letter_topic: dead_letter_topic(service.name),
        };
        let secret = |variable: &&str| Secret {
            env: (*variable).to_owned(),
            secret: variable.to_lowercase().replace('_', "-"),
        };
        Self {
            name: service.name.to_owned(),
            system: system.to_owned(),
            about: service.about.to_owned(),
            public: service.public,
            // Events that wait in a receipt come from routes; a consumer's are relayed by its
            // redelivery.
            relays: service.has_routes && !service.publishes.is_empty(),
            publishes: service.publishes.keys().map(|&name| name.to_owned()).collect(),
            publishes_to: publishes_to.into_iter().map(str::to_owned).collect(),
            subscriptions: handles.into_iter().map(subscription).collect(),
            dead_letter_topic: dead_letter_topic(service.name),
            secrets: service.secrets.iter().map(secret).collect(),
            indexes: Vec::new(),
        }
    }
}

/// What Pub/Sub takes at most, in bytes.
/// <https://cloud.google.com/pubsub/docs/subscription-message-filter#create_a_subscription_with_a_filter>
const LONGEST_FILTER: usize = 256;

/// Passes these types, and what has none. Where this gets too long, it passes all types that begin
/// as they do up to the dot; the service acks those that it does not handle.
fn filter(types: &[String]) -> String {
    const UNTYPED: &str = "NOT attributes:\"ce-type\"";
    let exact = types.iter().map(|name| format!("attributes.\"ce-type\" = \"{name}\""));
    let filter = any(UNTYPED, exact);
    if filter.len() <= LONGEST_FILTER {
        return filter;
    }
    let stems: BTreeSet<&str> = types.iter().map(|name| name.split('.').next().unwrap_or(name)).collect();
    any(UNTYPED, stems.into_iter().map(|stem| format!("hasPrefix(attributes.\"ce-type\", \"{stem}.\")")))
}

fn any(first: &str, others: impl Iterator<Item = String>) -> String {
    others.fold(first.to_owned(), |filter, other| filter + " OR " + &other)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_filter_is_never_too_long() {
        let filter =
            |types: &[&str]| super::filter(&types.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            filter(&["payment.failed", "order.rejected"]),
            r#"NOT attributes:"ce-type" OR attributes."ce-type" = "payment.failed" OR attributes."ce-type" = "order.rejected""#
        );
        assert_eq!(
            filter(&[
                "invoice.created",
                "order.cancelled",
                "order.persisted",
                "order.rejected",
                "payment.failed",
                "payment.succeeded"
            ]),
            r#"NOT attributes:"ce-type" OR hasPrefix(attributes."ce-type", "invoice.") OR hasPrefix(attributes."ce-type", "order.") OR hasPrefix(attributes."ce-type", "payment.")"#
        );
    }
}
