//! The forms in which a message arrives.

use std::{borrow::Cow, collections::BTreeMap};

use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::percent_decode;
use serde::{Deserialize, de::IgnoredAny};

use super::{Delivery, NotAnEnvelope};
use crate::{
    json::read_object,
    trace::{TRACE_ATTRIBUTES, joined},
    wire::{attribute, header},
};

const STRUCTURED: &str = "application/cloudevents+json";

/// The only released version of CloudEvents.
const SPEC_VERSION: &str = "1.0";

/// The type of the event that [Eventarc](https://cloud.google.com/eventarc/docs/cloudevents#pubsub) delivers
/// for a Pub/Sub message. Its data is a push envelope.
const EVENTARC_MESSAGE: &str = "google.cloud.pubsub.topic.v1.messagePublished";

/// The attributes of a replay that a service reads or passes on.
const REPLAY_ATTRIBUTES: [&str; 4] = [
    attribute::DEAD_LETTER_MESSAGE_ID,
    attribute::REPLAY_ONLY,
    attribute::REPLAY_ID,
    attribute::REPLAY_ATTEMPT,
];

/// <https://cloud.google.com/pubsub/docs/push#receive_push>
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    message: PushedMessage<'a>,
    subscription: Option<String>,
    #[serde(rename = "deliveryAttempt")]
    attempt: Option<u32>,
}

/// Pub/Sub sends both spellings of these names at once, so an alias would be a duplicate field.
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
    id: Option<String>,
    source: Option<String>,
    r#type: Option<String>,
    specversion: Option<String>,
    time: Option<String>,
    correlationid: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    data: Option<Box<serde_json::value::RawValue>>,
    data_base64: Option<String>,
}

impl Delivery {
    /// Reads a delivery in any of its forms:
    ///
    /// - Pub/Sub's push: [wrapped](https://cloud.google.com/pubsub/docs/push#receive_push), or
    ///   [unwrapped](https://cloud.google.com/pubsub/docs/payload-unwrapping) with metadata. The
    ///   message may hold a structured CloudEvent.
    /// - [CloudEvents by HTTP](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md),
    ///   structured or binary.
    /// - Eventarc's CloudEvent that wraps a Pub/Sub push.
    pub(crate) fn parse(headers: &HeaderMap, body: Bytes) -> Result<Self, NotAnEnvelope> {
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(message_id) = value(header::MESSAGE_ID) {
            let message = Self {
                message_id: message_id.to_owned(),
                subscription: value(header::SUBSCRIPTION).map(str::to_owned),
                publish_time: value(header::PUBLISH_TIME).and_then(|time| time.parse().ok()),
                // Pub/Sub does not encode attributes.
                ..Self::bare(headers, body, |value| value.to_str().ok().map(str::to_owned))
            };
            return message.opened();
        }
        let mut event = if value(attribute::CONTENT_TYPE).is_some_and(is_structured) {
            let event = read_object(&body);
            let event: StructuredEvent =
                event.map_err(|_| NotAnEnvelope("the body is not a structured CloudEvent"))?;
            let mut delivery = Self::bare(headers, body, |_| None);
            delivery.take(event);
            delivery
        } else if headers.keys().any(|name| name.as_str().starts_with("ce-")) {
            Self::bare(headers, body, decoded)
        } else {
            return Self::wrapped(body)?.opened();
        };
        event.message_id = event.checked_id()?.to_owned();
        match (event.attribute(attribute::TYPE), &event.data) {
            (Some(EVENTARC_MESSAGE), Ok(data)) => Self::wrapped(data.clone())?.opened(),
            _ => Ok(event),
        }
    }

    /// A message with its attributes in HTTP headers and its data in the body.
    fn bare(headers: &HeaderMap, body: Bytes, decode: impl Fn(&HeaderValue) -> Option<String>) -> Self {
        let of_event = headers.iter().filter(|(name, _)| {
            name.as_str().starts_with("ce-") || REPLAY_ATTRIBUTES.contains(&name.as_str())
        });
        let of_event = of_event.filter_map(|(name, value)| Some((name.to_string(), decode(value)?)));
        let of_trace = TRACE_ATTRIBUTES.into_iter().flat_map(|(parent, state)| [parent, state]);
        let others = of_trace
            .chain([attribute::CONTENT_TYPE])
            .filter(|name| !name.starts_with("ce-"))
            .filter_map(|name| Some((name.to_owned(), joined(headers, name)?.into_owned())));
        Self {
            message_id: String::new(),
            subscription: None,
            attempt: None,
            attributes: of_event.chain(others).collect(),
            data: Ok(body.clone()),
            raw: body,
            named: Ok(None),
            publish_time: None,
        }
    }

    /// A message as a push would deliver it.
    pub(crate) fn of_message(
        attributes: BTreeMap<String, String>,
        data: Bytes,
        message_id: &str,
        subscription: &str,
    ) -> Result<Self, NotAnEnvelope> {
        let message = Self {
            message_id: message_id.to_owned(),
            subscription: Some(subscription.to_owned()),
            attempt: None,
            attributes,
            data: Ok(data.clone()),
            raw: data,
            named: Ok(None),
            publish_time: None,
        };
        message.opened()
    }

    fn wrapped(body: Bytes) -> Result<Self, NotAnEnvelope> {
        let envelope: Envelope = read_object(&body).map_err(|_| {
            NotAnEnvelope(
                "the body is not a JSON object with a `message` as Pub/Sub documents it. A subscription that \
                 pushes unwrapped messages must have `writeMetadata` on",
            )
        })?;
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
            named: Ok(None),
            publish_time: message.publish_time.or(message.publish_time_snake),
        })
    }

    /// Converts a message that holds a structured CloudEvent to the binary mode. Reads the type from the data
    /// if no attribute names it.
    fn opened(mut self) -> Result<Self, NotAnEnvelope> {
        /// Every structured CloudEvent has a `specversion`. Go's SDK sends one without a content type.
        #[derive(Deserialize)]
        struct Typed {
            event: Option<String>,
            specversion: Option<IgnoredAny>,
        }
        if self.message_id.is_empty() {
            return Err(NotAnEnvelope("the message has no id"));
        }
        let Ok(data) = &self.data else { return Ok(self) };
        if self.content_type().is_some_and(is_structured) {
            match complete_event(data) {
                Some(event) => self.take(event),
                None => self.data = Err("the data is not a structured CloudEvent"),
            }
        } else if self.attribute(attribute::TYPE).is_none() && !data.is_empty() {
            match read_object::<Typed>(data) {
                Ok(Typed { event, specversion }) => {
                    match specversion.and_then(|IgnoredAny| complete_event(data)) {
                        Some(event) => self.take(event),
                        None => self.named = Ok(event),
                    }
                }
                Err(_) => self.named = Err("the data is not a JSON object with a text field `event`"),
            }
        }
        Ok(self)
    }

    fn take(&mut self, event: StructuredEvent) {
        self.data = match (event.data, event.data_base64) {
            (Some(json), None) => Ok(String::from(Box::<str>::from(json)).into()),
            (None, Some(text)) => {
                STANDARD.decode(text).map(Bytes::from).map_err(|_| "data_base64 is not base64")
            }
            (None, None) => Ok(Bytes::new()),
            (Some(_), Some(_)) => Err("a CloudEvent has data or data_base64, not both"),
        };
        let mut content_type = None;
        if let Ok(data) = &self.data {
            // The attributes and the data of a dead letter must be in the same mode.
            self.raw = data.clone();
            self.attributes.retain(|name, _| !name.eq_ignore_ascii_case(attribute::CONTENT_TYPE));
            content_type = Some("application/json".to_owned());
        }
        let known = [
            (attribute::SPEC_VERSION, event.specversion),
            (attribute::ID, event.id),
            (attribute::SOURCE, event.source),
            (attribute::TYPE, event.r#type),
            (attribute::TIME, event.time),
            (attribute::CONTENT_TYPE, content_type),
            (attribute::CORRELATION_ID, event.correlationid),
            ("ce-traceparent", event.traceparent),
            ("ce-tracestate", event.tracestate),
        ];
        self.attributes.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }

    /// The id of an event that did not come from Pub/Sub. Only its attributes identify it, so it must have
    /// those that the specification requires.
    fn checked_id(&self) -> Result<&str, NotAnEnvelope> {
        let require = |name, missing| self.attribute(name).ok_or(NotAnEnvelope(missing));
        if require(attribute::SPEC_VERSION, "the CloudEvent has no specversion")? != SPEC_VERSION {
            return Err(NotAnEnvelope("the CloudEvent has another specversion than 1.0"));
        }
        require(attribute::TYPE, "the CloudEvent has no type")?;
        require(attribute::SOURCE, "the CloudEvent has no source")?;
        require(attribute::ID, "the CloudEvent has no id")
    }

    /// The attribute `content-type`. Some publishers write it with capitals, like an HTTP header.
    fn content_type(&self) -> Option<&str> {
        self.attribute(attribute::CONTENT_TYPE).or_else(|| {
            let mut attributes = self.attributes.iter();
            let found = attributes.find(|(name, _)| name.eq_ignore_ascii_case(attribute::CONTENT_TYPE));
            found.map(|(_, value)| value.as_str())
        })
    }
}

/// Compares the media type without case and parameters.
fn is_structured(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(STRUCTURED))
}

/// The structured CloudEvent in the data, if it is a complete one.
fn complete_event(data: &[u8]) -> Option<StructuredEvent> {
    let event: StructuredEvent = read_object(data).ok()?;
    let has_all = event.id.is_some() && event.source.is_some() && event.r#type.is_some();
    (has_all && event.specversion.as_deref() == Some(SPEC_VERSION)).then_some(event)
}

/// The value of a `ce-` header, which may be quoted and is
/// [percent-encoded](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values).
fn decoded(value: &HeaderValue) -> Option<String> {
    let value = value.as_bytes();
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let unquoted = quoted.map(|quoted| {
        let mut escaped = false;
        let keep = |byte: &&u8| {
            escaped = **byte == b'\\' && !escaped;
            !escaped
        };
        quoted.iter().filter(keep).copied().collect::<Vec<_>>()
    });
    let decoded = percent_decode(unquoted.as_deref().unwrap_or(value)).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}
