//! As much of [Pub/Sub's REST API](https://cloud.google.com/pubsub/docs/reference/rest) as
//! `gcloud pubsub topics publish` and `gcloud pubsub subscriptions pull` and `ack` need.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use pushbox::Message;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::broker::{Broker, DeliveryId, Refused, UnknownSubscription, check, push::MessageBody};

/// A request to publish may have 10 MB, which grow by a third in base64.
pub(crate) const LARGEST_BODY: usize = 14 << 20;

/// All that is below `/v1`, on any project: there is only one.
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
    fn invalid(message: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, name: "INVALID_ARGUMENT", message: message.to_string() }
    }

    pub(crate) fn not_found(message: impl ToString) -> Self {
        Self { status: StatusCode::NOT_FOUND, name: "NOT_FOUND", message: message.to_string() }
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
        }
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
    Path(path): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let unknown = || ApiError::not_found(format_args!("there is no {method} /v1/{path} here"));
    let body = body.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    let segments: Vec<&str> = path.split('/').collect();
    let (["projects", _, collection, resource], &Method::POST) = (&*segments, &method) else {
        return Err(unknown());
    };
    // A resource's name and what to do with it share a segment.
    match (*collection, resource.split_once(':')) {
        ("topics", Some((topic, "publish"))) => publish(&broker, topic, parse(&body)?),
        ("subscriptions", Some((name, "pull"))) => pull(&broker, name, &parse(&body)?),
        ("subscriptions", Some((name, "acknowledge"))) => acknowledge(&broker, name, &parse(&body)?),
        _ => Err(unknown()),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
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
    // All or none: a request of which one message is refused publishes nothing.
    messages.iter().try_for_each(check)?;
    let publish = |message| broker.with(|topics, now| topics.publish(message, now));
    let ids: Vec<String> = messages.into_iter().map(publish).collect::<Result<_, _>>()?;
    Ok(Json(json!({ "messageIds": ids })))
}

/// Google's APIs take both alphabets, and `gcloud` sends the URL-safe one.
fn decode(data: &str) -> Result<Vec<u8>, ApiError> {
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

/// Answers at once, also when there is nothing to pull.
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
    for id in &request.ack_ids {
        let id = id.parse().map_err(|_| ApiError::invalid(format_args!("{id} is not an ack id")))?;
        broker.with(|topics, now| topics.ack(subscription, DeliveryId(id), now));
    }
    Ok(Json(json!({})))
}
