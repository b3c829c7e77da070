//! The part of [Pub/Sub's REST API](https://cloud.google.com/pubsub/docs/reference/rest) that these
//! commands need:
//!
//! - `gcloud pubsub topics publish|list|describe|list-subscriptions`
//! - `gcloud pubsub subscriptions list|describe|create|pull|ack|modify-ack-deadline|seek|delete`
//!
//! The catalog's topics and subscriptions cannot be changed. A person can create pull
//! subscriptions, with an optional filter, to watch published messages. Google's client libraries
//! use gRPC; see [`grpc_unimplemented`].

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{
        HeaderMap, Method, StatusCode,
        header::{CONTENT_TYPE, HOST},
    },
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::Timestamp;
use pushbox::{Message, Timing};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::broker::{
    Broker, DeliveryId, Refused, SubscriptionInfo, Unchanged, UnknownSubscription, push::MessageBody,
};

/// In bytes. A publish request may have 10 MB, and base64 makes it a third larger.
pub(crate) const LARGEST_BODY: usize = 14 << 20;

/// All routes below `/v1`. They accept any project name, because there is only one project.
pub(crate) fn router(broker: Broker) -> Router {
    Router::new()
        .route("/v1/{*call}", any(call))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(broker)
}

/// An error in Google's form. <https://cloud.google.com/apis/design/errors#http_mapping>
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn invalid(message: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, name: "INVALID_ARGUMENT", message: message.to_string() }
    }

    pub(crate) fn not_found(message: impl ToString) -> Self {
        Self { status: StatusCode::NOT_FOUND, name: "NOT_FOUND", message: message.to_string() }
    }

    pub(crate) fn unimplemented(message: impl ToString) -> Self {
        Self { status: StatusCode::NOT_IMPLEMENTED, name: "UNIMPLEMENTED", message: message.to_string() }
    }

    pub(crate) fn already_exists(message: impl ToString) -> Self {
        Self { status: StatusCode::CONFLICT, name: "ALREADY_EXISTS", message: message.to_string() }
    }

    pub(crate) fn exhausted(message: impl ToString) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self { status, name: "RESOURCE_EXHAUSTED", message: message.to_string() }
    }

    pub(crate) fn unavailable(message: impl ToString) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, name: "UNAVAILABLE", message: message.to_string() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, name, message } = self;
        let error = json!({ "error": { "code": status.as_u16(), "message": message, "status": name } });
        (status, Json(error)).into_response()
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UnknownTopic(_) => Self::not_found(refused),
            Refused::Invalid(_) => Self::invalid(refused),
            Refused::Full(_) => Self::exhausted(refused),
        }
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<Unchanged> for ApiError {
    fn from(unchanged: Unchanged) -> Self {
        let (status, name) = match unchanged {
            Unchanged::UnknownTopic(_) | Unchanged::UnknownSubscription(_) => {
                (StatusCode::NOT_FOUND, "NOT_FOUND")
            }
            Unchanged::Exists(_) => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
            Unchanged::NotYours(_) => (StatusCode::BAD_REQUEST, "FAILED_PRECONDITION"),
            Unchanged::TooMany => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
            Unchanged::Filter(_) => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        };
        Self { status, name, message: unchanged.to_string() }
    }
}

impl From<UnknownSubscription> for ApiError {
    fn from(unknown: UnknownSubscription) -> Self {
        Self::not_found(unknown)
    }
}

async fn call(
    State(broker): State<Broker>,
    method: Method,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(path) = path?;
    let body = body?;
    let segments: Vec<&str> = path.split('/').collect();
    let unknown = || ApiError::not_found(format_args!("there is no {method} /v1/{path} here"));
    let ["projects", project, ref resource @ ..] = *segments else { return Err(unknown()) };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let names = Names { project, host };
    match (&method, resource) {
        (&Method::GET, ["topics"]) => Ok(names.topics(&broker)),
        (&Method::GET, ["topics", topic]) => names.topic(&broker, topic),
        (&Method::GET, ["topics", topic, "subscriptions"]) => names.subscriptions_of(&broker, topic),
        (&Method::GET, ["subscriptions"]) => Ok(names.subscriptions(&broker)),
        (&Method::GET, ["subscriptions", name]) => names.subscription(&broker, name),
        (&Method::PUT, ["subscriptions", name]) => names.create(&broker, name, parse(&body)?),
        (&Method::DELETE, ["subscriptions", name]) => delete(&broker, name),
        (&Method::PUT | &Method::PATCH | &Method::DELETE, ["topics" | "subscriptions", _]) => {
            Err(ApiError::unimplemented("the catalog declares the topics, and nothing here changes them"))
        }
        // The last segment has the resource's name and the verb, such as `user-events:publish`.
        (&Method::POST, [collection, call]) => match (*collection, call.split_once(':')) {
            ("topics", Some((topic, "publish"))) => publish(&broker, topic, parse(&body)?),
            ("subscriptions", Some((name, "pull"))) => pull(&broker, name, &parse(&body)?),
            ("subscriptions", Some((name, "acknowledge"))) => acknowledge(&broker, name, &parse(&body)?),
            ("subscriptions", Some((name, "modifyAckDeadline"))) => {
                modify_ack_deadline(&broker, name, &parse(&body)?)
            }
            ("subscriptions", Some((name, "seek"))) => seek(&broker, name, &parse(&body)?),
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(ApiError::invalid)
}

#[derive(Deserialize)]
struct Publish {
    messages: Vec<Outgoing>,
}

/// An ordering key is ignored: nothing here delivers in order.
#[derive(Deserialize)]
struct Outgoing {
    #[serde(default)]
    data: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish>
fn publish(broker: &Broker, topic: &str, request: Publish) -> Result<Json<Value>, ApiError> {
    let message = |Outgoing { data, attributes }| {
        let data = decode(&data)?.into();
        Ok(Message { topic: topic.to_owned(), attributes, data })
    };
    let messages: Vec<Message> =
        request.messages.into_iter().map(message).collect::<Result<_, ApiError>>()?;
    if messages.is_empty() {
        return Err(ApiError::invalid("there is no message to publish"));
    }
    let ids = broker.with(|topics, now| {
        // All or nothing: if one message is refused, the request publishes none.
        messages.iter().try_for_each(|message| topics.check(message))?;
        let publish = |message| topics.publish(message, now);
        messages.into_iter().map(publish).collect::<Result<Vec<String>, Refused>>()
    })?;
    Ok(Json(json!({ "messageIds": ids })))
}

/// Google's APIs accept both base64 alphabets, and `gcloud` sends the URL-safe one.
pub(crate) fn decode(data: &str) -> Result<Vec<u8>, ApiError> {
    const EITHER: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    EITHER
        .decode(data.replace('-', "+").replace('_', "/"))
        .map_err(|error| ApiError::invalid(format_args!("the data is not base64: {error}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pull {
    max_messages: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Received<'a> {
    ack_id: String,
    message: MessageBody<'a>,
}

/// Answers at once, even if there is nothing to pull.
/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/pull>
fn pull(broker: &Broker, subscription: &str, request: &Pull) -> Result<Json<Value>, ApiError> {
    let pulled = broker.with(|topics, now| topics.pull(subscription, request.max_messages, now))?;
    let received = pulled.iter().map(|delivery| Received {
        ack_id: delivery.id.0.to_string(),
        message: MessageBody::of(&delivery.message),
    });
    let received: Vec<_> = received.collect();
    Ok(Json(json!({ "receivedMessages": received })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Acknowledge {
    ack_ids: Vec<String>,
}

/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/acknowledge>
fn acknowledge(broker: &Broker, subscription: &str, request: &Acknowledge) -> Result<Json<Value>, ApiError> {
    for id in deliveries(&request.ack_ids)? {
        broker.with(|topics, now| topics.ack(subscription, id, now));
    }
    Ok(Json(json!({})))
}

fn deliveries(ack_ids: &[String]) -> Result<Vec<DeliveryId>, ApiError> {
    let read = |id: &String| id.parse().map(DeliveryId);
    let read = |id| read(id).map_err(|_| ApiError::invalid(format_args!("{id} is not an ack id")));
    ack_ids.iter().map(read).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModifyAckDeadline {
    ack_ids: Vec<String>,
    ack_deadline_seconds: u64,
}

/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/modifyAckDeadline>
fn modify_ack_deadline(
    broker: &Broker,
    subscription: &str,
    request: &ModifyAckDeadline,
) -> Result<Json<Value>, ApiError> {
    if request.ack_deadline_seconds > LONGEST_ACK_DEADLINE {
        return Err(ApiError::invalid("ackDeadlineSeconds is 0 to 600"));
    }
    let deadline = Duration::from_secs(request.ack_deadline_seconds);
    let ids = deliveries(&request.ack_ids)?;
    broker.with(|topics, now| topics.modify_ack_deadline(subscription, &ids, deadline, now))?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Seek {
    time: Option<Timestamp>,
}

/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/seek>
fn seek(broker: &Broker, subscription: &str, request: &Seek) -> Result<Json<Value>, ApiError> {
    let time = request
        .time
        .ok_or_else(|| ApiError::unimplemented("one can seek to a time here, not to a snapshot"))?;
    broker.with(|topics, now| topics.seek(subscription, time, now))?;
    Ok(Json(json!({})))
}

fn delete(broker: &Broker, subscription: &str) -> Result<Json<Value>, ApiError> {
    broker.with(|topics, _| topics.unsubscribe(subscription))?;
    Ok(Json(json!({})))
}

const LONGEST_ACK_DEADLINE: u64 = 600;

/// The caller's names for the project and for this host.
struct Names<'a> {
    project: &'a str,
    host: &'a str,
}

/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions>, with the
/// supported fields. Any other field is refused, not ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewSubscription {
    #[serde(rename = "name")]
    _name: Option<String>,
    topic: String,
    #[serde(default)]
    filter: String,
    #[serde(default)]
    ack_deadline_seconds: u64,
    #[serde(default)]
    retain_acked_messages: bool,
}

impl Names<'_> {
    fn topics(&self, broker: &Broker) -> Json<Value> {
        let named = broker.act(|topics, _| {
            topics.names().map(|topic| json!({ "name": self.topic_name(topic) })).collect::<Vec<_>>()
        });
        Json(json!({ "topics": named }))
    }

    fn topic(&self, broker: &Broker, topic: &str) -> Result<Json<Value>, ApiError> {
        if !broker.act(|topics, _| topics.names().any(|name| name == topic)) {
            return Err(Refused::UnknownTopic(topic.to_owned()).into());
        }
        Ok(Json(json!({ "name": self.topic_name(topic) })))
    }

    fn subscriptions_of(&self, broker: &Broker, topic: &str) -> Result<Json<Value>, ApiError> {
        let Json(_) = self.topic(broker, topic)?;
        let names = broker.act(|topics, _| {
            let of_topic = topics.subscriptions().filter(|subscription| subscription.topic == topic);
            of_topic.map(|subscription| self.subscription_name(subscription.name)).collect::<Vec<_>>()
        });
        Ok(Json(json!({ "subscriptions": names })))
    }

    fn subscriptions(&self, broker: &Broker) -> Json<Value> {
        let all = broker.act(|topics, _| {
            topics.subscriptions().map(|subscription| self.describe(&subscription)).collect::<Vec<_>>()
        });
        Json(json!({ "subscriptions": all }))
    }

    fn subscription(&self, broker: &Broker, name: &str) -> Result<Json<Value>, ApiError> {
        let found = broker.act(|topics, _| {
            let mut all = topics.subscriptions();
            all.find(|subscription| subscription.name == name).map(|found| self.describe(&found))
        });
        Ok(Json(found.ok_or_else(|| Unchanged::UnknownSubscription(name.to_owned()))?))
    }

    /// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/create>
    fn create(&self, broker: &Broker, name: &str, wanted: NewSubscription) -> Result<Json<Value>, ApiError> {
        if !is_resource_id(name) {
            return Err(ApiError::invalid(format_args!(
                "{name:?} is not a name: it has 3 to 255 letters, digits and -._~+%, and begins with a letter"
            )));
        }
        let seconds = match wanted.ack_deadline_seconds {
            0 => 10,
            seconds @ 10..=LONGEST_ACK_DEADLINE => seconds,
            _ => return Err(ApiError::invalid("ackDeadlineSeconds is 10 to 600")),
        };
        let topic = wanted.topic.rsplit('/').next().unwrap_or_default();
        let deadline = Duration::from_secs(seconds);
        broker.with(|topics, _| {
            topics.subscribe(name, topic, &wanted.filter, deadline, wanted.retain_acked_messages)
        })?;
        self.subscription(broker, name)
    }

    fn describe(&self, subscription: &SubscriptionInfo<'_>) -> Value {
        let mut described = json!({
            "name": self.subscription_name(subscription.name),
            "topic": self.topic_name(subscription.topic),
            "ackDeadlineSeconds": subscription.ack_deadline.as_secs(),
            "pushConfig": {},
            "state": "ACTIVE",
        });
        if let Some(filter) = subscription.filter {
            described["filter"] = filter.into();
        }
        if subscription.retains_acked {
            described["retainAckedMessages"] = true.into();
        }
        if let Some((service, dead_letter_topic)) = subscription.pushes {
            described["pushConfig"] = json!({ "pushEndpoint": format!("http://{}/{service}/", self.host) });
            described["deadLetterPolicy"] = json!({
                "deadLetterTopic": self.topic_name(dead_letter_topic),
                "maxDeliveryAttempts": Timing::DEFAULT.max_delivery_attempts,
            });
        }
        described
    }

    fn topic_name(&self, topic: &str) -> String {
        format!("projects/{}/topics/{topic}", self.project)
    }

    fn subscription_name(&self, subscription: &str) -> String {
        format!("projects/{}/subscriptions/{subscription}", self.project)
    }
}

/// <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>
fn is_resource_id(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || "-._~+%".contains(char))
        && !name.starts_with("goog")
}

/// Whether a request speaks gRPC, as Google's client libraries do.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// [UNIMPLEMENTED](https://grpc.io/docs/guides/status-codes/), in the form that a gRPC client reads.
pub(crate) fn grpc_unimplemented() -> Response {
    let message = "The local stack has no gRPC, only the REST API that gcloud uses. \
        scripts/emulators starts Google's emulators, which have both.";
    let headers = [("content-type", "application/grpc"), ("grpc-status", "12"), ("grpc-message", message)];
    (StatusCode::OK, headers).into_response()
}
