//! What is published.

pub(crate) mod limits;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Event,
    trace::{TRACEPARENT, TRACESTATE, Trace},
};

/// Attribute names of the [CloudEvents Pub/Sub binding](https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md), binary mode.
pub(crate) mod attribute {
    pub(crate) const ID: &str = "ce-id";
    pub(crate) const SOURCE: &str = "ce-source";
    pub(crate) const TYPE: &str = "ce-type";
    pub(crate) const TIME: &str = "ce-time";
    pub(crate) const SPEC_VERSION: &str = "ce-specversion";
    /// In a dead letter, the id that the message had.
    pub(crate) const PARKED_MESSAGE_ID: &str = "dead-letter-message-id";
    pub(crate) const CONTENT_TYPE: &str = "content-type";
}

/// A message on its way to a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The topic's short name, such as `user-events`.
    pub topic: String,
    /// At most 100, with keys of 256 and values of 1024 bytes at most.
    /// <https://cloud.google.com/pubsub/quotas#resource_limits>
    pub attributes: BTreeMap<String, String>,
    /// At most 10 MB.
    pub data: Bytes,
}

/// An event that waits in a receipt for its relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    topic: String,
    attributes: BTreeMap<String, String>,
    data: String,
}

impl Outgoing {
    pub(crate) fn new<E: Event>(
        event: &E,
        service: &str,
        id: &str,
        time: jiff::Timestamp,
        trace: &Trace,
    ) -> Result<Self, serde_json::Error> {
        let mut data = serde_json::to_value(event)?;
        if let Some(fields) = data.as_object_mut() {
            fields.insert("event".to_owned(), E::TYPE.into());
        }
        let attributes = [
            (attribute::SPEC_VERSION, "1.0".to_owned()),
            (attribute::ID, id.to_owned()),
            (attribute::SOURCE, format!("//pushbox/{service}")),
            (attribute::TYPE, E::TYPE.to_owned()),
            (attribute::TIME, time.to_string()),
            (attribute::CONTENT_TYPE, "application/json".to_owned()),
            (TRACEPARENT, trace.to_string()),
        ];
        let state = trace.state().map(|state| (TRACESTATE, state.to_owned()));
        let attributes = attributes.into_iter().chain(state);
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Self { topic: E::TOPIC.to_owned(), attributes, data: data.to_string() })
    }
}

impl From<Outgoing> for Message {
    fn from(event: Outgoing) -> Self {
        Self { topic: event.topic, attributes: event.attributes, data: event.data.into() }
    }
}
