//! What was published lately and what became of it, for people to look at.

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

/// So many events are remembered.
pub(crate) const MOST_EVENTS: usize = 200;

/// So many bytes the events that are remembered may have.
pub(crate) const MOST_EVENT_BYTES: usize = 16 << 20;

/// An event that was published lately.
#[derive(Clone, Debug)]
pub struct RecentEvent {
    /// What was published.
    pub message: Arc<Published>,
    /// By subscription. One whose filter does not pass the message is not listed.
    pub deliveries: BTreeMap<String, Fate>,
}

/// How a message fares at a subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fate {
    /// How far it has come.
    pub stage: Stage,
    /// What the service said of the last delivery that it answered.
    pub outcome: Option<Outcome>,
    /// How often it was delivered.
    pub attempts: u32,
    /// Why the last delivery failed.
    pub failure: Option<String>,
}

/// What a service says of a delivery, in the header `pushbox-outcome` of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Handled now.
    Handled,
    /// Handled before.
    Duplicate,
    /// It handles no events of this type.
    Ignored,
    /// Not now.
    Retry,
    /// Never; it is a dead letter.
    Rejected,
    /// The handler panicked.
    Panicked,
}

impl Outcome {
    /// Reads the header, if there is one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let name = headers.get(header::OUTCOME)?.to_str().ok()?;
        Self::deserialize(IntoDeserializer::<ValueError>::into_deserializer(name)).ok()
    }
}

/// How far a message has come at a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Not delivered yet.
    Waiting,
    /// A delivery is under way.
    Delivered,
    /// Done.
    Acked,
    /// The service parked it as a dead letter, and acked it.
    Rejected,
    /// The last delivery failed; there will be another.
    Retrying,
    /// Given up and forwarded to the dead-letter topic.
    DeadLettered,
}

/// The events that were published lately: the last 200, with up to 16 MiB.
#[derive(Default)]
pub struct RecentEvents {
    /// By number.
    events: VecDeque<RecentEvent>,
    bytes: usize,
}

impl RecentEvents {
    /// From old to new.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RecentEvent> {
        self.events.iter()
    }

    pub(crate) fn published(&mut self, message: Arc<Published>, subscriptions: &[String]) {
        let deliveries = subscriptions.iter().map(|name| (name.clone(), Fate::waiting())).collect();
        self.bytes += message.bytes();
        // Google's emulator does not push in the order of the numbers.
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

    /// A service that parks a message says which delivery of which message that was.
    pub(crate) fn parked(&mut self, letter: &Published) {
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

/// From the attribute, or for a message that was published by hand from the data.
pub(crate) fn event_type(message: &Published) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        event: String,
    }
    let from_data = || serde_json::from_slice(&message.data).ok().map(|typed: Typed| typed.event);
    message.attributes.get("ce-type").cloned().or_else(from_data)
}
