//! A dead letter.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::ServiceEntry;
use jiff::Timestamp;
use pushbox::{
    Message,
    letters::identify,
    wire::{attribute, code, limit},
};

use crate::{Names, Pulled, masking::is_name};

/// The code of a message that Pub/Sub moved: the service has not answered, or has answered too late.
const UNANSWERED: &str = "unanswered";

/// The code of a message that a person has published to the dead-letter topic.
const BY_HAND: &str = "by-hand";

/// The attributes of a letter that its replay does not have.
const OF_THE_LETTER: [&str; 5] = [
    attribute::DEAD_LETTER_CODE,
    attribute::DEAD_LETTER_REASON,
    attribute::DEAD_LETTER_SERVICE,
    attribute::DEAD_LETTER_SUBSCRIPTION,
    attribute::DEAD_LETTER_DROPPED,
];

/// What the names of the attributes begin with that Pub/Sub adds.
const OF_PUBSUB: &str = "CloudPubSubDeadLetter";

/// A message that a service could not handle.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The service.
    pub service: String,
    /// The subscription that holds the letter, by its short name.
    pub holder: String,
    /// The letter's message id, unique within its holder.
    pub id: String,
    /// The event's type, if the service can read it.
    pub event_type: Option<String>,
    /// Why it is here: a code of [`pushbox::wire::code`], `unanswered` or `by-hand`.
    pub code: String,
    /// The same as text.
    pub reason: String,
    /// The time at which it became a dead letter.
    pub parked_at: Timestamp,
    /// How many replays have come back as this letter.
    pub came_back: u32,
    /// The last of these replays.
    pub replay: Option<String>,
    /// Where a replay goes.
    pub target: Result<Target, Unreplayable>,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The data.
    pub data: Bytes,
}

/// Where a replay goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The original topic, by its short name.
    pub topic: String,
    /// The id of the event's receipt.
    pub receipt: String,
}

/// Why a letter cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreplayable {
    /// Pub/Sub moved a replay for another service here, because this one did not answer. It needs no replay: that
    /// service got the message from its own subscription.
    #[error("it is a replay for {0} only")]
    ForAnother(String),
    /// Pub/Sub moved it here, but the service does not handle this type. The service would acknowledge the replay,
    /// and no receipt would tell its result.
    #[error("the service does not handle {0}")]
    NotHandled(String),
    /// Neither its attributes nor its type tell the topic.
    #[error("nothing tells which topic it comes from")]
    UnknownTopic,
}

impl Letter {
    /// Reads a message of the service's holder.
    #[must_use]
    pub fn of(service: &ServiceEntry, names: &Names, pulled: Pulled) -> Self {
        let Pulled { message_id: id, attributes, data, publish_time: parked_at, ack_id: _ } = pulled;
        let attribute = |name: &str| attributes.get(name).filter(|value| !value.is_empty());
        let (code, reason) = cause(&attributes);
        let mut letter = Self {
            service: service.name.clone(),
            holder: service.dead_letter_topic.clone(),
            event_type: None,
            code,
            reason,
            parked_at,
            came_back: attribute(attribute::REPLAY_ATTEMPT).and_then(|count| count.parse().ok()).unwrap_or(0),
            replay: attribute(attribute::REPLAY_ID).cloned(),
            target: Err(Unreplayable::UnknownTopic),
            id,
            attributes,
            data,
        };
        letter.locate(service, names);
        letter
    }

    /// Finds the topic and the receipt. The subscription belongs to the receipt's id if the message has no `ce-id`.
    fn locate(&mut self, service: &ServiceEntry, names: &Names) {
        let replayed = self.replayed_attributes("");
        let identify = |subscription: &str| identify(&replayed, &self.data, &self.id, subscription);
        // In data without a type, the field `event` can be anything.
        let is_type = |text: &String| self.attributes.contains_key(attribute::TYPE) || is_name(text);
        self.event_type = identify("").and_then(|identity| identity.event_type).filter(is_type);
        let named = subscription(&self.attributes);
        let short = named.as_deref().map(|full| names.short(full));
        let by_name = service.subscriptions.iter().find(|wired| Some(wired.name.as_str()) == short);
        let by_type = || {
            let handles =
                |name: &String| service.subscriptions.iter().find(|wired| wired.handles.contains(name));
            self.event_type.as_ref().and_then(handles)
        };
        let only = || match &service.subscriptions[..] {
            [only] => Some(only),
            _ => None,
        };
        let Some(wired) = by_name.or_else(by_type).or_else(only) else { return };
        let full = named.filter(|_| by_name.is_some()).unwrap_or_else(|| names.subscription(&wired.name));
        let unhandled = self.event_type.as_ref().filter(|name| !wired.handles.contains(name));
        self.target = match (self.attributes.get(attribute::REPLAY_ONLY), unhandled) {
            (Some(only), _) if !only.is_empty() && *only != self.service => {
                Err(Unreplayable::ForAnother(only.clone()))
            }
            (_, Some(name)) => Err(Unreplayable::NotHandled(name.clone())),
            _ => identify(&full)
                .map(|identity| Target { topic: wired.topic.clone(), receipt: identity.receipt })
                .ok_or(Unreplayable::UnknownTopic),
        };
    }

    /// The message that replays the letter to its service only; `None` if that is impossible.
    pub(crate) fn replayed(&self, replay: &str) -> Option<Message> {
        let Target { topic, .. } = self.target.as_ref().ok()?;
        let attributes = self.replayed_attributes(replay);
        Some(Message { topic: topic.clone(), attributes, data: self.data.clone() })
    }

    fn replayed_attributes(&self, replay: &str) -> BTreeMap<String, String> {
        let is_kept = |name: &str| {
            !OF_THE_LETTER.contains(&name)
                && !name.starts_with(OF_PUBSUB)
                && !name.starts_with(limit::RESERVED_NAME_PREFIX)
        };
        let kept = self.attributes.iter().filter(|(name, value)| is_kept(name) && !value.is_empty());
        let mut attributes: BTreeMap<String, String> =
            kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        // Pub/Sub gives a message that it moves a new id. All replays of the letter share this one instead. No message
        // of a topic can have it.
        let lost = || format!("{}/{}", self.holder, self.id);
        attributes.entry(attribute::DEAD_LETTER_MESSAGE_ID.to_owned()).or_insert_with(lost);
        let attempt = self.came_back.saturating_add(1).to_string();
        let added = [
            (attribute::REPLAY_ONLY, self.service.as_str()),
            (attribute::REPLAY_ID, replay),
            (attribute::REPLAY_ATTEMPT, &attempt),
        ];
        attributes.extend(added.map(|(name, value)| (name.to_owned(), value.to_owned())));
        attributes
    }
}

/// The code and the reason.
fn cause(attributes: &BTreeMap<String, String>) -> (String, String) {
    let code = attributes.get(attribute::DEAD_LETTER_CODE).cloned();
    if let Some(reason) = attributes.get(attribute::DEAD_LETTER_REASON) {
        // An earlier release set no code.
        return (code.unwrap_or_else(|| code::REJECTED.to_owned()), reason.clone());
    }
    match attributes.get(attribute::PUBSUB_DELIVERY_COUNT) {
        Some(count) => (UNANSWERED.to_owned(), format!("Pub/Sub gave up after {count} deliveries")),
        None => (BY_HAND.to_owned(), "published to the dead-letter topic by hand".to_owned()),
    }
}

/// The full name of the subscription that delivered the message.
fn subscription(attributes: &BTreeMap<String, String>) -> Option<String> {
    let value = |name: &str| attributes.get(name).filter(|value| !value.is_empty());
    value(attribute::DEAD_LETTER_SUBSCRIPTION).cloned().or_else(|| {
        let (project, name) =
            (value(attribute::PUBSUB_SUBSCRIPTION_PROJECT)?, value(attribute::PUBSUB_SUBSCRIPTION)?);
        Some(format!("projects/{project}/subscriptions/{name}"))
    })
}
