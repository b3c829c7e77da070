//! The recent events and the state of their deliveries, for people to read.

use pushbox::wire::{attribute, header};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer, value::Error as ValueError},
};

use super::{Delivery, Published};
use crate::journal::{Change, Journal};

/// How many events are kept.
pub(crate) const MOST_EVENTS: usize = 2_000;

/// How many bytes of a type the journal keeps.
const LONGEST_NAME: usize = 200;

/// How many attempts of a delivery are kept.
pub(crate) const MOST_ATTEMPTS: usize = 10;

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
    /// The last ten deliveries, oldest first.
    pub history: Vec<Attempt>,
}

/// One delivery of a message to a subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// When it began.
    pub began: Timestamp,
    /// When it ended. None while it is in flight.
    pub ended: Option<Timestamp>,
    /// One word for its end, such as `handled` or `retry`.
    pub result: Option<&'static str>,
    /// Why it failed.
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

/// The last 2,000 events, with up to 16 MiB.
#[derive(Default)]
pub struct RecentEvents {
    /// Sorted by the number of the message.
    events: VecDeque<RecentEvent>,
    bytes: usize,
    journal: Journal,
}

impl RecentEvents {
    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RecentEvent> {
        self.events.iter()
    }

    pub(crate) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Forgets all events.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
        self.journal.note(Change::Other);
    }

    pub(crate) fn published(&mut self, message: Arc<Published>, subscriptions: &[String]) {
        let source = message.attributes.get(attribute::SOURCE).cloned();
        self.journal.note(Change::Published { event: name(&message), source });
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

    pub(super) fn delivered(&mut self, delivery: &Delivery, now: Timestamp) {
        self.update(delivery.message.number, &delivery.subscription, |fate| {
            fate.begin(delivery.attempt, now)
        });
    }

    /// Records the end of a delivery, after its fate was updated.
    pub(crate) fn ended(&mut self, number: u64, subscription: &str, service: &str, now: Timestamp) {
        let Some(event) = self.event(number) else { return };
        let kind = name(&event.message);
        let Some(fate) = event.deliveries.get_mut(subscription) else { return };
        let result = fate.end(now);
        self.journal.note(Change::Delivered { event: kind, service: service.to_owned(), result });
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
        Self { stage: Stage::Waiting, outcome: None, attempts: 0, failure: None, history: Vec::new() }
    }

    pub(crate) fn begin(&mut self, number: u32, now: Timestamp) {
        (self.stage, self.attempts) = (Stage::Delivered, number);
        if self.history.len() >= MOST_ATTEMPTS {
            self.history.remove(0);
        }
        self.history.push(Attempt { number, began: now, ended: None, result: None, failure: None });
    }

    fn end(&mut self, now: Timestamp) -> &'static str {
        let result = self.result();
        let failure = self.failure.clone().filter(|_| !matches!(self.stage, Stage::Acked));
        if let Some(attempt) = self.history.iter_mut().find(|attempt| attempt.ended.is_none()) {
            (attempt.ended, attempt.result, attempt.failure) = (Some(now), Some(result), failure);
        }
        result
    }

    /// One word for the stage and the outcome. Several outcomes share a stage.
    pub(crate) fn result(&self) -> &'static str {
        match (self.stage, self.outcome) {
            (Stage::Waiting, _) => "waiting",
            (Stage::Delivered, _) => "in flight",
            (Stage::Acked, Some(Outcome::Handled)) => "handled",
            (Stage::Acked, Some(Outcome::Duplicate)) => "duplicate",
            (Stage::Acked, Some(Outcome::Ignored)) => "ignored",
            (Stage::Acked, _) => "acked",
            (Stage::Rejected, _) => "reject",
            (Stage::Retrying, _) => "retry",
            (Stage::DeadLettered, _) => "dead letter",
        }
    }
}

/// The type, for the journal. A type from the data may be long, and the journal has no limit in bytes.
fn name(message: &Published) -> String {
    let mut name = event_type(message).unwrap_or_default();
    name.truncate(name.floor_char_boundary(LONGEST_NAME));
    name
}

/// The type in the attribute. Without the attribute, as in a message that was published by hand,
/// the type in the data.
pub(crate) fn event_type(message: &Published) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        event: String,
    }
    let from_data = || serde_json::from_slice(&message.data).ok().map(|typed: Typed| typed.event);
    message.attributes.get(attribute::TYPE).cloned().or_else(from_data)
}
