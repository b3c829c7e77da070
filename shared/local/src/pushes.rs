//! The pushes of Google's emulator that pass through the stack on their way to a service. The
//! emulator does not report its deliveries, so the page shows only these.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use catalog::Catalog;
use jiff::Timestamp;
use pushbox::Problem;
use serde::Deserialize;

use crate::{
    broker::{Fate, Outcome, Published, RecentEvent, RecentEvents, Stage},
    process::DOWN,
    rest::LARGEST_BODY,
};

/// The emulator's recent pushes to this process.
#[derive(Clone)]
pub(crate) struct Pushes {
    recent: Arc<Mutex<RecentEvents>>,
    /// The topic of each subscription.
    topics: Arc<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Envelope {
    message: PushedMessage,
    subscription: String,
}

/// A message as the emulator sends it, in a push or in the answer to a pull.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PushedMessage {
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    data: String,
    message_id: String,
    publish_time: Timestamp,
}

impl PushedMessage {
    /// Returns `None` if the message is not from the emulator, whose message IDs are numbers.
    pub(crate) fn published(self, topic: &str) -> Option<Published> {
        Some(Published {
            number: self.message_id.parse().ok()?,
            topic: topic.to_owned(),
            attributes: self.attributes,
            data: STANDARD.decode(self.data).ok()?.into(),
            publish_time: self.publish_time,
            last_failure: None,
        })
    }
}

impl Pushes {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let subscriptions = catalog.services.iter().flat_map(|service| &service.subscriptions);
        let topics = subscriptions.map(|wired| (wired.name.clone(), wired.topic.clone())).collect();
        Self { recent: Arc::default(), topics: Arc::new(topics) }
    }

    /// Newest first.
    pub(crate) fn recent(&self) -> Vec<RecentEvent> {
        self.act(|recent| recent.iter().rev().cloned().collect())
    }

    /// Records the reasons of dead letters.
    pub(crate) fn dead_lettered<'a>(&self, letters: impl Iterator<Item = &'a Published>) {
        self.act(|recent| letters.for_each(|letter| recent.dead_lettered(letter)));
    }

    /// Lets `answer` answer a push, and records the result.
    pub(crate) async fn watch<Fut: Future<Output = Response>>(
        &self,
        service: &str,
        request: Request,
        answer: impl FnOnce(Request) -> Fut,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let body = match axum::body::to_bytes(body, LARGEST_BODY).await {
            Ok(body) => body,
            Err(error) => return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error).into_response(),
        };
        let delivery = self.begun(&body);
        let response = answer(Request::from_parts(parts, Body::from(body))).await;
        if let Some((number, subscription)) = delivery {
            self.answered(number, &subscription, service, &response);
        }
        response
    }

    /// Records the start of a delivery. Returns the message's number and the subscription, or
    /// `None` if the body is not a push.
    fn begun(&self, body: &Bytes) -> Option<(u64, String)> {
        let Envelope { message, subscription } = serde_json::from_slice(body).ok()?;
        let subscription = subscription.rsplit('/').next()?.to_owned();
        let message = message.published(self.topics.get(&subscription)?)?;
        let number = message.number;
        self.act(|recent| {
            if recent.event(number).is_none() {
                recent.published(Arc::new(message), &[]);
            }
            if let Some(event) = recent.event(number) {
                let fate = event.deliveries.entry(subscription.clone()).or_insert_with(Fate::waiting);
                fate.begin(fate.attempts + 1, Timestamp::now());
            }
        });
        Some((number, subscription))
    }

    fn answered(&self, number: u64, subscription: &str, service: &str, response: &Response) {
        let status = response.status();
        let outcome = Outcome::from_headers(response.headers());
        let stage = match outcome {
            Some(Outcome::Reject) => Stage::Rejected,
            // The emulator accepts other codes as an ack, too, but no service answers with them.
            _ if status == StatusCode::NO_CONTENT || status == StatusCode::OK => Stage::Acked,
            _ => Stage::Retrying,
        };
        let down = response.headers().get(DOWN).and_then(|why| Some(why.to_str().ok()?.to_owned()));
        let answered = || down.unwrap_or_else(|| format!("answered {}", status.as_u16()));
        let failure = (stage == Stage::Retrying).then(answered);
        self.act(|recent| {
            recent.update(number, subscription, |fate| {
                (fate.stage, fate.outcome, fate.failure) = (stage, outcome, failure);
            });
            recent.ended(number, subscription, service, Timestamp::now());
        });
    }

    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut RecentEvents) -> T) -> T {
        // No code panics between two changes, so a poisoned value is still consistent.
        act(&mut self.recent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
