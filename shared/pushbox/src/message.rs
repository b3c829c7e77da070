//! Messages to publish.

pub(crate) mod limits;

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Event, ServiceName,
    origin::Origin,
    timers::{Timer, timer_id},
    trace::Trace,
    wire::{attribute, limit},
};

/// A message on its way to a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The topic's short name, such as `user-events`.
    pub topic: String,
    /// The attributes, within the limits of [`wire::limit`](crate::wire::limit).
    pub attributes: BTreeMap<String, String>,
    /// The data, at most 10 MB.
    pub data: Bytes,
}

/// What waits in a receipt for its relay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outbox {
    #[serde(default)]
    pub(crate) events: Vec<Outgoing>,
    /// The ids of timers to cancel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cancels: Vec<String>,
}

/// The outbox of a receipt that holds none.
pub(crate) static EMPTY: Outbox = Outbox { events: Vec::new(), cancels: Vec::new() };

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.cancels.is_empty()
    }
}

/// An event that waits in a receipt for its relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    topic: String,
    attributes: BTreeMap<String, String>,
    data: String,
    /// The time at which a timer publishes it; none for an immediate publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<Timestamp>,
}

impl Outgoing {
    pub(crate) fn new<E: Event>(
        event: &E,
        service: &str,
        id: &str,
        now: Timestamp,
        at: Option<Timestamp>,
        origin: &Origin,
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
            (attribute::TIME, at.unwrap_or(now).to_string()),
            (attribute::CONTENT_TYPE, "application/json".to_owned()),
            (attribute::CAUSATION_ID, origin.cause.clone()),
            (attribute::CORRELATION_ID, origin.root.clone()),
            (attribute::TRACEPARENT, trace.to_string()),
        ];
        let state = trace.state().map(|state| (attribute::TRACESTATE, state.to_owned()));
        let attributes = attributes.into_iter().chain(state);
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Self { topic: E::TOPIC.to_owned(), attributes, data: data.to_string(), at })
    }

    /// The timer that publishes it, if it is delayed.
    pub(crate) fn timer(&self, service: ServiceName) -> Option<Timer> {
        let id = timer_id(service, self.id());
        self.at.map(|at| Timer { service, id, at, message: self.clone().into() })
    }

    pub(crate) fn is_too_large_for_its_timer(&self) -> bool {
        self.at.is_some() && self.data.len() > limit::TIMER_DATA_BYTES
    }

    /// The event's id.
    pub(crate) fn id(&self) -> &str {
        self.attributes.get(attribute::ID).map_or("", String::as_str)
    }
}

impl From<Outgoing> for Message {
    fn from(event: Outgoing) -> Self {
        Self { topic: event.topic, attributes: event.attributes, data: event.data.into() }
    }
}
