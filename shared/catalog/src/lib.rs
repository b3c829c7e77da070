//! The catalog: services, events, topics and subscriptions, as the code declares them.
//!
//! Terraform, the diagrams, the tables of the documents, the local stack and the doctor use it. See
//! [`Catalog::of`], and [`files`] for the files that are generated from it.

mod filter;
mod rendering;

pub use rendering::{files, json};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use pushbox::{Declaration, System, Timing, store, wire};

use self::filter::filter;

/// All services, events, topics and subscriptions, and the rules that they share.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// The deadlines that Terraform and the doctor compare.
    pub timing: Deadlines,
    /// How Pub/Sub retries, and how long it keeps messages.
    pub delivery: DeliveryRules,
    /// Where and how long receipts are kept.
    pub receipts: ReceiptRules,
    /// Ordered by name.
    pub topics: Vec<Topic>,
    /// Ordered by system; within a system, in the order of its list.
    pub services: Vec<ServiceEntry>,
    /// Ordered by type.
    pub events: Vec<EventEntry>,
}

/// handler < lease < ack deadline <= request timeout.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names of the fields of `pushbox::Timing`, which are documented")]
pub struct Deadlines {
    pub handler_seconds: u64,
    pub lease_seconds: u64,
    pub ack_deadline_seconds: u64,
    pub request_timeout_seconds: u64,
}

/// How Pub/Sub retries, and how long it keeps messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names of the fields of `pushbox::Timing`, which are documented")]
pub struct DeliveryRules {
    pub min_backoff_seconds: u64,
    pub max_backoff_seconds: u64,
    pub max_delivery_attempts: u32,
    pub retention_seconds: u64,
    pub dead_letter_retention_seconds: u64,
}

/// Where and how long receipts are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptRules {
    /// The collection in which each service keeps its receipts.
    pub collection: String,
    /// The field of Firestore's TTL policy.
    pub ttl_field: String,
    /// How long a receipt is kept.
    pub keep_seconds: u64,
    /// The fields that no query filters by, which need no index.
    pub unindexed: Vec<String>,
}

/// A topic and its events.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Topic {
    /// Its short name.
    pub name: String,
    /// The types of the events.
    pub events: Vec<String>,
}

/// A service, its events and its subscriptions.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// Its name.
    pub name: String,
    /// The system that it belongs to.
    pub system: String,
    /// What it does.
    pub about: String,
    /// Whether anyone may call it.
    pub public: bool,
    /// Whether it verifies the access tokens of users, so that it needs `AUTH_ISSUER` and `AUTH_JWKS`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_in: bool,
    /// Whether its routes are for operators, whom Cloud Run admits by name.
    #[serde(default)]
    pub for_operators: bool,
    /// Whether a job must call its `POST /relay` from time to time.
    pub relays: bool,
    /// Its own routes, such as `GET /contacts`.
    #[serde(default)]
    pub routes: Vec<String>,
    /// The types of the events that it publishes.
    pub publishes: Vec<String>,
    /// The types of those that it may publish at a later time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delays: Vec<String>,
    /// The queue of its timers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer_queue: Option<String>,
    /// The topics that it publishes to.
    pub publishes_to: Vec<String>,
    /// One for each topic with events that it handles.
    pub subscriptions: Vec<Subscription>,
    /// Where its dead letters go.
    pub dead_letter_topic: String,
    /// The environment variables that hold secrets.
    pub secrets: Vec<Secret>,
    /// The collections whose documents expire, as receipts do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expires: Vec<String>,
    /// The composite indexes of Firestore that its queries need.
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
    /// The types of the events that the service handles.
    pub handles: Vec<String>,
    /// Passes at least these types, and messages without attributes, such as those published by hand.
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

/// An event, its publishers and its handlers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventEntry {
    /// Its type.
    pub r#type: String,
    /// The topic that carries it.
    pub topic: String,
    /// Whether a service may publish it at a later time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delayed: bool,
    /// The services that publish it.
    pub published_by: Vec<String>,
    /// The services that handle it.
    pub handled_by: Vec<String>,
    /// The data's JSON schema.
    pub schema: Value,
}

impl Catalog {
    /// The catalog of these systems.
    #[must_use]
    pub fn of(systems: &[System]) -> Self {
        let entries = systems.iter().flat_map(|system| {
            system.services.iter().map(|service| ServiceEntry::of(system.name, &service.declaration()))
        });
        let services: Vec<ServiceEntry> = entries.collect();
        let mut events = BTreeMap::new();
        for service in systems.iter().flat_map(|system| &system.services) {
            let Declaration { publishes, handles, .. } = service.declaration();
            for event in publishes.iter().chain(&handles) {
                let schema = || (event.schema)().to_value();
                events.entry(event.name).or_insert_with(|| EventEntry {
                    r#type: event.name.to_owned(),
                    topic: event.topic.to_owned(),
                    delayed: false,
                    published_by: Vec::new(),
                    handled_by: Vec::new(),
                    schema: schema(),
                });
            }
        }
        for service in &services {
            for name in &service.delays {
                events.entry(name).and_modify(|event| event.delayed = true);
            }
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
            timing: Deadlines {
                handler_seconds: Timing::DEFAULT.handler.as_secs(),
                lease_seconds: Timing::DEFAULT.lease.as_secs(),
                ack_deadline_seconds: Timing::DEFAULT.ack_deadline.as_secs(),
                request_timeout_seconds: Timing::DEFAULT.request_timeout.as_secs(),
            },
            delivery: DeliveryRules {
                min_backoff_seconds: Timing::DEFAULT.min_backoff.as_secs(),
                max_backoff_seconds: Timing::DEFAULT.max_backoff.as_secs(),
                max_delivery_attempts: Timing::DEFAULT.max_delivery_attempts,
                retention_seconds: Timing::DEFAULT.retention.as_secs(),
                dead_letter_retention_seconds: Timing::DEFAULT.dead_letter_retention.as_secs(),
            },
            receipts: ReceiptRules {
                collection: store::RECEIPTS.to_owned(),
                ttl_field: store::TTL_FIELD.to_owned(),
                keep_seconds: Timing::DEFAULT.receipt_retention.as_secs(),
                unindexed: store::UNINDEXED_RECEIPT_FIELDS.map(str::to_owned).to_vec(),
            },
            topics: topics.into_iter().map(|(name, events)| Topic { name, events }).collect(),
            services,
            events,
        }
    }

    /// Keeps only this service, and all topics.
    #[must_use]
    pub fn only(mut self, service: &str) -> Self {
        self.services.retain(|entry| entry.name == service);
        self
    }
}

impl ServiceEntry {
    /// The entry of a service with this declaration.
    #[must_use]
    pub fn of(system: &str, service: &Declaration) -> Self {
        let publishes_to: BTreeSet<&str> = service.publishes.iter().map(|event| event.topic).collect();
        let mut handles = BTreeMap::<&str, Vec<String>>::new();
        for event in &service.handles {
            handles.entry(event.topic).or_default().push(event.name.to_owned());
        }
        let subscription = |(topic, handles): (&str, Vec<String>)| Subscription {
            name: format!("{}-{topic}", service.name),
            topic: topic.to_owned(),
            filter: filter(&handles),
            handles,
            dead_letter_topic: wire::dead_letter_topic(service.name),
        };
        let accepts_commands = service.routes.iter().any(|route| route.method != "GET");
        let secret = |variable: &&str| Secret {
            env: (*variable).to_owned(),
            secret: variable.to_lowercase().replace('_', "-"),
        };
        // These keys are public. They are kept with the secrets, so that all services have the same ones.
        let keys = service.signed_in.then_some("AUTH_JWKS");
        Self {
            name: service.name.to_owned(),
            system: system.to_owned(),
            about: service.about.to_owned(),
            public: service.public,
            signed_in: service.signed_in,
            for_operators: service.is_for_operators(),
            // The events of a command can stay in its receipt, and then only the job relays them. For a
            // consumer, a redelivery relays them.
            relays: accepts_commands && !service.publishes.is_empty(),
            routes: service.routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect(),
            publishes: service.publishes.iter().map(|event| event.name.to_owned()).collect(),
            delays: service.delays.iter().map(|name| (*name).to_owned()).collect(),
            timer_queue: (!service.delays.is_empty()).then(|| wire::timer_queue(service.name)),
            publishes_to: publishes_to.into_iter().map(str::to_owned).collect(),
            subscriptions: handles.into_iter().map(subscription).collect(),
            dead_letter_topic: wire::dead_letter_topic(service.name),
            secrets: keys.iter().chain(&service.secrets).map(secret).collect(),
            expires: service.expires.iter().map(|name| (*name).to_owned()).collect(),
            indexes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use events::UserCreated;
    use pushbox::Service;

    use super::*;

    #[test]
    fn a_service_relays_if_it_accepts_commands_and_publishes() {
        let service = || Service::new("user-service", "is under test");
        let publisher = || service().publishes::<UserCreated>();
        let answer = || async { "ok" };
        for (service, expected) in [
            (publisher().post("/users", answer), true),
            (publisher().get("/users", answer).put("/users/{id}", answer), true),
            (publisher().get("/users", answer), false),
            (publisher(), false),
            (service().post("/users", answer), false),
        ] {
            let entry = ServiceEntry::of("signup", &service.declaration());
            assert_eq!(entry.relays, expected, "{:?}, publishes {:?}", entry.routes, entry.publishes);
        }
    }
}
