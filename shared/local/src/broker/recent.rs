//! The recent events and the state of their deliveries, for people to read.

use pushbox::wire::{attribute, header};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use axum::http::HeaderMap;
use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer, value::Error as ValueError},
};

use super::{Delivery, Published};

/// How many events are kept.
pub(crate) const MOST_EVENTS: usize = 200;

/// How many bytes of events are kept.
pub(crate) const MOST_EVENT_BYTES: usize = 16 << 20;

/// A recently published event.
#[derive(Clone, Debug)]
pub struct RecentEvent {
    /// The published message.
    pub message: Arc<Published>,
    /// By subscription, without those whose filter excludes the message.
    pub deliveries: BTreeMap<String, Fate>,
}

/// The state of a message at a subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fate {
    /// The stage that the message has reached.
    pub stage: Stage,
    /// The outcome that the service reported for the last delivery that it answered.
    pub outcome: Option<Outcome>,
    /// The number of deliveries.
    pub attempts: u32,
    /// Why the last delivery failed.
    pub failure: Option<String>,
}

/// The outcome of a delivery, which a service reports in the response header `pushbox-outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// This delivery handled the event.
    Handled,
    /// An earlier delivery handled the event.
    Duplicate,
    /// The service handles no events of this type.
    Ignored,
    /// The service needs another delivery.
    Retry,
    /// The service can never handle the message, which is now a dead letter.
    Reject,
    /// The handler panicked.
    Panic,
}

impl Outcome {
    /// Reads the header. Returns `None` if it is missing or unknown.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let name = headers.get(header::OUTCOME)?.to_str().ok()?;
        Self::deserialize(IntoDeserializer::<ValueError>::into_deserializer(name)).ok()
    }
}

/// The stage that a message has reached at a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Not delivered yet.
    Waiting,
    /// A delivery is in flight.
    Delivered,
    /// The subscriber acked it.
    Acked,
    /// The service rejected it: it is a dead letter now, and acked.
    Rejected,
    /// The last delivery failed, and another one will follow.
    Retrying,
    /// The broker gave up, and forwarded it to the dead-letter topic.
    DeadLettered,
}

/// The last 200 events, with up to 16 MiB.
#[derive(Default)]
pub struct RecentEvents {
    /// Sorted by the number of the message.
    events: VecDeque<RecentEvent>,
    bytes: usize,
}

impl RecentEvents {
    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RecentEvent> {
        self.events.iter()
    }

    pub(crate) fn published(&mut self, message: Arc<Published>, subscriptions: &[String]) {
        let deliveries = subscriptions.iter().map(|name| (name.clone(), Fate::waiting())).collect();
        self.bytes += message.bytes();
        // Google's emulator does not push in the order of its numbers.
        let place = self.events.partition_point(|event| event.message.number <= message.number);
        self.events.insert(place, RecentEvent { message, deliveries });
        while self.events.len() > MOST_EVENTS || self.bytes > MOST_EVENT_BYTES && self.events.len() > 1 {
            let oldest = self.events.pop_front();
            self.bytes -= oldest.map_or(0, |event| event.message.bytes());
        }
    }

    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        self.update(delivery.message.number, &delivery.subscription, |fate| {
            (fate.stage, fate.attempts) = (Stage::Delivered, delivery.attempt);
        });
    }

    /// Records the reason of a message that a service dead-lettered. Its attributes name the original
    /// message and the subscription.
    pub(crate) fn dead_lettered(&mut self, letter: &Published) {
        let attribute = |name| letter.attributes.get(name).map(String::as_str).unwrap_or_default();
        let subscription =
            attribute(attribute::DEAD_LETTER_SUBSCRIPTION).rsplit('/').next().unwrap_or_default();
        if let Ok(number) = attribute(attribute::DEAD_LETTER_MESSAGE_ID).parse() {
            self.update(number, subscription, |fate| {
                (fate.stage, fate.failure) =
                    (Stage::Rejected, Some(attribute(attribute::DEAD_LETTER_REASON).to_owned()));
            });
        }
    }

    pub(crate) fn update(&mut self, number: u64, subscription: &str, change: impl FnOnce(&mut Fate)) {
        let found = self.event(number);
        if let Some(fate) = found.and_then(|event| event.deliveries.get_mut(subscription)) {
            change(fate);
        }
    }

    pub(crate) fn event(&mut self, number: u64) -> Option<&mut RecentEvent> {
        let found = self.events.binary_search_by_key(&number, |event| event.message.number);
        found.ok().and_then(|at| self.events.get_mut(at))
    }
}

impl Fate {
    pub(crate) fn waiting() -> Self {
        Self { stage: Stage::Waiting, outcome: None, attempts: 0, failure: None }
    }
}

/// The type in the attribute. Without the attribute, as in a message that was published by hand,
/// the type in the data.
pub(crate) fn event_type(message: &Published) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        event: String,
    }
    let from_data = || serde_json::from_slice(&message.data).ok().map(|typed: Typed| typed.event);
    message.attributes.get("ce-type").cloned().or_else(from_data)
}
