//! What was published lately and what became of it, for people to look at.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Published;

/// So many events are remembered.
const MOST: usize = 200;

/// An event that was published lately.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentEvent {
    #[serde(skip)]
    number: u64,
    /// The message's id.
    pub message_id: String,
    /// The topic's short name.
    pub topic: String,
    /// The event's type, where the message tells.
    pub r#type: Option<String>,
    /// When it was published.
    pub published_at: Timestamp,
    /// By subscription. One whose filter does not pass the message is not listed.
    pub deliveries: BTreeMap<String, Fate>,
}

/// How a message fares at a subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fate {
    /// How far it has come.
    pub stage: Stage,
    /// How often it was delivered.
    pub attempts: u32,
    /// Why the last delivery failed.
    pub failure: Option<String>,
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

/// The events that were published lately.
#[derive(Default)]
pub struct RecentEvents(VecDeque<RecentEvent>);

impl RecentEvents {
    /// From old to new.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RecentEvent> {
        self.0.iter()
    }

    pub(super) fn published(&mut self, message: &Published, subscriptions: &[String]) {
        let waiting = Fate { stage: Stage::Waiting, attempts: 0, failure: None };
        self.0.push_back(RecentEvent {
            number: message.number,
            message_id: message.id(),
            topic: message.topic.clone(),
            r#type: event_type(message),
            published_at: message.publish_time,
            deliveries: subscriptions.iter().map(|name| (name.clone(), waiting.clone())).collect(),
        });
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// A service that parks a message says which delivery of which message that was.
    pub(super) fn parked(&mut self, letter: &Published) {
        let attribute = |name| letter.attributes.get(name).map(String::as_str).unwrap_or_default();
        let subscription = attribute("dead-letter-subscription").rsplit('/').next().unwrap_or_default();
        if let Ok(number) = attribute("dead-letter-message-id").parse() {
            self.update(number, subscription, |fate| {
                (fate.stage, fate.failure) =
                    (Stage::Rejected, Some(attribute("dead-letter-reason").to_owned()));
            });
        }
    }

    pub(super) fn update(&mut self, number: u64, subscription: &str, change: impl FnOnce(&mut Fate)) {
        let found = self.0.binary_search_by_key(&number, |event| event.number);
        let event = found.ok().and_then(|at| self.0.get_mut(at));
        if let Some(fate) = event.and_then(|event| event.deliveries.get_mut(subscription)) {
            change(fate);
        }
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
