//! A delivery: one arrival of a message.

mod forms;

use std::{borrow::Cow, collections::BTreeMap};

use axum::http::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{key::Key, trace::Trace, wire::attribute};

/// One arrival of a message at a subscription.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Pub/Sub assigns it at each publication, so a repeat by a relay has another one.
    pub(crate) message_id: String,
    /// `projects/…/subscriptions/…`, if the push contains it.
    pub(crate) subscription: Option<String>,
    /// The number of this delivery, from 1, if the subscription has a dead-letter policy.
    pub(crate) attempt: Option<u32>,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The data, or the reason why it cannot be decoded. Then `raw` holds the undecoded data.
    pub(crate) data: Result<Bytes, &'static str>,
    pub(crate) raw: Bytes,
    /// The field `event` of the data, or the reason why it cannot be read. It is read only if no attribute
    /// names the type.
    named: Result<Option<String>, &'static str>,
    publish_time: Option<Timestamp>,
}

/// The request is neither a push from Pub/Sub nor a CloudEvent.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("neither a Pub/Sub push nor a CloudEvent: {0}")]
pub(crate) struct NotAnEnvelope(&'static str);

impl Delivery {
    /// The trace of the message, or of the request if the message has none.
    pub(crate) fn trace(&self, headers: &HeaderMap) -> Trace {
        Trace::of_message(|name| self.attribute(name), headers)
    }

    pub(crate) fn key(&self) -> Key {
        key(&self.attributes, self.subscription.as_deref(), &self.message_id)
    }

    pub(crate) fn identity(&self) -> &str {
        identity(&self.attributes, &self.message_id)
    }

    /// Whether the message is the replay of a dead letter.
    pub(crate) fn is_replay(&self) -> bool {
        self.attribute(attribute::DEAD_LETTER_MESSAGE_ID).is_some()
    }

    /// Whether the message is a replay for another service.
    pub(crate) fn is_for_another(&self, service: &str) -> bool {
        self.attribute(attribute::REPLAY_ONLY).is_some_and(|only| only != service)
    }

    /// The event's type; `None` if neither the attributes nor the data name it.
    pub(crate) fn event_type(&self) -> Result<Option<Cow<'_, str>>, &'static str> {
        if let Some(ce_type) = self.attribute(attribute::TYPE) {
            return Ok(Some(ce_type.into()));
        }
        self.data.as_ref().map_err(|reason| *reason)?;
        self.named.as_ref().map(|event| event.as_deref().map(Cow::from)).map_err(|reason| *reason)
    }

    /// The time at which the event happened, or was published.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.attribute(attribute::TIME).and_then(|time| time.parse().ok()).or(self.publish_time)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }
}

/// The identity of the event: its source and id. A message id is not enough, because a relay that
/// publishes again gets a new one. A message without source and id is identified by its message id and
/// the subscription, because a message id is
/// [unique within its topic](https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage).
pub(crate) fn key(
    attributes: &BTreeMap<String, String>,
    subscription: Option<&str>,
    message_id: &str,
) -> Key {
    if let (Some(source), Some(id)) = (find(attributes, attribute::SOURCE), find(attributes, attribute::ID)) {
        return Key::event(source, id);
    }
    Key::message(subscription, identity(attributes, message_id))
}

/// The id of the message. For the replay of a dead letter, it is the id of the original message.
fn identity<'a>(attributes: &'a BTreeMap<String, String>, message_id: &'a str) -> &'a str {
    find(attributes, attribute::DEAD_LETTER_MESSAGE_ID).unwrap_or(message_id)
}

/// An attribute that is empty counts as missing.
fn find<'a>(attributes: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    attributes.get(name).map(String::as_str).filter(|value| !value.is_empty())
}
