//! One arrival of a message: what Pub/Sub pushes, in each form that it may have.

use std::{borrow::Cow, collections::BTreeMap};

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::{json::read_object, message::attribute, trace::TRACEPARENT};

const STRUCTURED: &str = "application/cloudevents+json";

/// One arrival of a message at a subscription.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Given by Pub/Sub at each publish: a relay's repeat has another one.
    pub(crate) message_id: String,
    /// `projects/…/subscriptions/…`, where the push says so.
    pub(crate) subscription: Option<String>,
    /// Counted by Pub/Sub from 1 where the subscription has a dead-letter policy.
    pub(crate) attempt: Option<u32>,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The data, or why there is none to be had. Then `raw` is what came instead.
    pub(crate) data: Result<Bytes, &'static str>,
    pub(crate) raw: Bytes,
    publish_time: Option<Timestamp>,
}

/// This is not a push from Pub/Sub, nor a CloudEvent.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not a Pub/Sub push envelope: {0}")]
pub(crate) struct NotAnEnvelope(&'static str);

/// <https://cloud.google.com/pubsub/docs/push#receive_push>
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    message: PushedMessage<'a>,
    subscription: Option<String>,
    #[serde(rename = "deliveryAttempt")]
    attempt: Option<u32>,
}

/// Pub/Sub sends both spellings of these names, so an alias would be a duplicate field.
#[derive(Deserialize)]
struct PushedMessage<'a> {
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    attributes: Option<BTreeMap<String, String>>,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
    #[serde(rename = "message_id")]
    message_id_snake: Option<String>,
    #[serde(rename = "publishTime")]
    publish_time: Option<Timestamp>,
    #[serde(rename = "publish_time")]
    publish_time_snake: Option<Timestamp>,
}

/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>
#[derive(Deserialize)]
struct StructuredEvent {
    id: String,
    source: String,
    r#type: String,
    specversion: String,
    time: Option<String>,
    traceparent: Option<String>,
    data: Option<Box<serde_json::value::RawValue>>,
    data_base64: Option<String>,
}

impl Delivery {
    pub(crate) fn parse(headers: &HeaderMap, body: Bytes) -> Result<Self, NotAnEnvelope> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_structured =
            header(attribute::CONTENT_TYPE).is_some_and(|content_type| content_type.starts_with(STRUCTURED));
        let delivery = if let Some(message_id) = header("x-goog-pubsub-message-id") {
            Self {
                subscription: header("x-goog-pubsub-subscription-name").map(str::to_owned),
                publish_time: header("x-goog-pubsub-publish-time").and_then(|time| time.parse().ok()),
                ..Self::bare(message_id, headers, body)
            }
        } else if is_structured {
            Self::bare("", headers, body)
        } else if let Some(id) = header(attribute::ID) {
            Self::bare(id, headers, body)
        } else {
            Self::wrapped(body)?
        };
        delivery.unfold()
    }

    /// A message whose attributes are HTTP headers and whose data is the body: Pub/Sub's
    /// [unwrapped](https://cloud.google.com/pubsub/docs/payload-unwrapping) push with metadata, and
    /// CloudEvents' binary mode.
    fn bare(message_id: &str, headers: &HeaderMap, body: Bytes) -> Self {
        let is_attribute =
            |name: &str| name.starts_with("ce-") || [attribute::CONTENT_TYPE, TRACEPARENT].contains(&name);
        let attributes = headers
            .iter()
            .filter(|(name, _)| is_attribute(name.as_str()))
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        Self {
            message_id: message_id.to_owned(),
            subscription: None,
            attempt: None,
            attributes,
            data: Ok(body.clone()),
            raw: body,
            publish_time: None,
        }
    }

    fn wrapped(body: Bytes) -> Result<Self, NotAnEnvelope> {
        let envelope: Envelope = serde_json::from_slice(&body)
            .map_err(|_| NotAnEnvelope("the body is not JSON with a `message` of the documented form"))?;
        let message = envelope.message;
        let message_id = message.message_id.or(message.message_id_snake).unwrap_or_default();
        let raw = message.data.unwrap_or_default();
        let data = STANDARD.decode(raw.as_bytes()).map(Bytes::from).map_err(|_| "the data is not base64");
        Ok(Self {
            message_id,
            subscription: envelope.subscription,
            attempt: envelope.attempt,
            attributes: message.attributes.unwrap_or_default(),
            raw: data.clone().unwrap_or_else(|_| Bytes::from(raw.into_owned())),
            data,
            publish_time: message.publish_time.or(message.publish_time_snake),
        })
    }

    /// Turns CloudEvents' structured mode, if it is that, into the binary mode.
    fn unfold(mut self) -> Result<Self, NotAnEnvelope> {
        let content_type = self.attributes.get(attribute::CONTENT_TYPE);
        if let (true, Ok(data)) = (content_type.is_some_and(|is| is.starts_with(STRUCTURED)), &self.data) {
            match serde_json::from_slice::<StructuredEvent>(data) {
                Ok(event) => self.take(event),
                Err(_) if self.message_id.is_empty() => {
                    return Err(NotAnEnvelope("the body is not a structured CloudEvent"));
                }
                Err(_) => self.data = Err("the data is not a structured CloudEvent"),
            }
        }
        if self.message_id.is_empty() {
            return Err(NotAnEnvelope("the message has no id"));
        }
        Ok(self)
    }

    fn take(&mut self, event: StructuredEvent) {
        if self.message_id.is_empty() {
            self.message_id.clone_from(&event.id);
        }
        self.data = match (event.data, event.data_base64) {
            (Some(json), None) => Ok(String::from(Box::<str>::from(json)).into()),
            (None, Some(text)) => {
                STANDARD.decode(text).map(Bytes::from).map_err(|_| "data_base64 is not base64")
            }
            (None, None) => Ok(Bytes::new()),
            (Some(_), Some(_)) => Err("a CloudEvent has data or data_base64, not both"),
        };
        let known = [
            (attribute::SPEC_VERSION, Some(event.specversion)),
            (attribute::ID, Some(event.id)),
            (attribute::SOURCE, Some(event.source)),
            (attribute::TYPE, Some(event.r#type)),
            (attribute::TIME, event.time),
            (attribute::CONTENT_TYPE, Some("application/json".to_owned())),
            (TRACEPARENT, event.traceparent),
        ];
        self.attributes.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }

    /// What makes two deliveries one event. Message ids alone would not do: a relay that publishes
    /// again gets a new one. Where there is nothing else, the subscription belongs to it: a message
    /// id is [unique within its topic](https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage).
    pub(crate) fn key(&self) -> String {
        match (self.attribute(attribute::SOURCE), self.attribute(attribute::ID)) {
            (Some(source), Some(id)) => format!("{source} {id}"),
            _ => format!("{} {}", self.subscription.as_deref().unwrap_or("message"), self.message_id),
        }
    }

    /// The event's type; `None` where neither the attributes nor the data tell.
    pub(crate) fn event_type(&self) -> Result<Option<Cow<'_, str>>, &'static str> {
        #[derive(Deserialize)]
        struct Typed {
            event: Option<String>,
        }
        if let Some(ce_type) = self.attribute(attribute::TYPE) {
            return Ok(Some(ce_type.into()));
        }
        let data = self.data.as_ref().map_err(|reason| *reason)?;
        if data.is_empty() {
            return Ok(None);
        }
        let typed: Result<Typed, _> = read_object(data);
        typed
            .map(|typed| typed.event.map(Cow::from))
            .map_err(|_| "the data is not a JSON object with a text field `event`")
    }

    /// When the event happened, as far as the message tells.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.attribute(attribute::TIME).and_then(|time| time.parse().ok()).or(self.publish_time)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
