//! Delivers due messages over HTTP, as Pub/Sub's
//! [push](https://cloud.google.com/pubsub/docs/push) does.

use std::{collections::BTreeMap, convert::Infallible, future::pending, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Client, StatusCode, header::CONTENT_TYPE, redirect};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{Broker, Delivery, Outcome, Published, Topics};
use crate::process::DOWN;

/// The project in the names of resources.
pub(crate) const PROJECT: &str = "local";

/// A message as Pub/Sub sends it.
/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage>
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageBody<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    message_id: String,
    publish_time: String,
}

impl<'a> MessageBody<'a> {
    pub(crate) fn of(message: &'a Published) -> Self {
        Self {
            attributes: &message.attributes,
            data: STANDARD.encode(&message.data),
            message_id: message.id(),
            publish_time: message.publish_time.to_string(),
        }
    }
}

/// <https://cloud.google.com/pubsub/docs/push#receive_push>
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    message: PushedMessage<'a>,
    subscription: String,
    delivery_attempt: u32,
}

/// A push spells two names in two ways: `messageId` and `message_id`, `publishTime` and
/// `publish_time`.
#[derive(Serialize)]
struct PushedMessage<'a> {
    #[serde(flatten)]
    message: MessageBody<'a>,
    message_id: String,
    publish_time: String,
}

/// Pushes due messages to `http://127.0.0.1:<port>/<service>/` until the future is dropped.
///
/// # Errors
/// If the HTTP client cannot be built.
pub(crate) async fn push_all(broker: Broker, port: u16) -> Result<Infallible, reqwest::Error> {
    let client = Client::builder()
        // Pushes stay on this machine, even if it has a proxy.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .tls_certs_only([])
        .timeout(broker.act(|topics, _| topics.policy().ack_deadline))
        .build()?;
    // Dropped with this future, which aborts all pushes.
    let mut pushes = JoinSet::new();
    loop {
        for delivery in broker.act(Topics::due) {
            pushes.spawn(push(client.clone(), port, broker.clone(), delivery));
        }
        let next = broker.act(|topics, now| topics.next_wakeup().map(|next| next.duration_since(now)));
        // The pause is negative if the next wakeup is already overdue.
        let pause = next.map(|pause| Duration::try_from(pause).unwrap_or_default());
        let nothing_new = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = broker.0.changed.notified() => {}
            () = nothing_new => {}
        }
        while pushes.try_join_next().is_some() {}
    }
}

async fn push(client: Client, port: u16, broker: Broker, delivery: Delivery) {
    let url = format!("http://127.0.0.1:{port}/{}/", delivery.service);
    let request = client.post(url).header(CONTENT_TYPE, "application/json").body(delivery.envelope());
    let answer = async {
        let response = request.send().await?;
        let (status, outcome) = (response.status(), Outcome::from_headers(response.headers()));
        let down = response.headers().get(DOWN).and_then(|why| Some(why.to_str().ok()?.to_owned()));
        // A connection is reused only after its answer was read.
        response.bytes().await?;
        Ok::<_, reqwest::Error>((status, outcome, down))
    };
    let answer = answer.await;
    let outcome = answer.as_ref().ok().and_then(|(_, outcome, _)| *outcome);
    let is_lost = delivery.attempt == 1 && broker.act(|topics, _| topics.faults.drop_acks);
    let failure = match answer {
        Ok((status, ..)) if is_ack(status) => {
            is_lost.then(|| "the ack was lost: a fault of the broker is on".to_owned())
        }
        Ok((status, _, down)) => Some(down.unwrap_or_else(|| format!("answered {}", status.as_u16()))),
        Err(error) if error.is_timeout() => Some("no answer within the ack deadline".to_owned()),
        Err(error) if error.is_connect() => Some("no connection".to_owned()),
        Err(error) => Some(format!("no answer: {error}")),
    };
    let Delivery { id, subscription, .. } = &delivery;
    broker.with(|topics, now| {
        let in_time = match &failure {
            None => topics.ack(subscription, *id, now),
            Some(reason) => topics.nack(subscription, *id, reason, now),
        };
        if let (true, Some(outcome)) = (in_time, outcome) {
            topics.outcome(&delivery, outcome);
        }
        if in_time {
            topics.ended(subscription, delivery.message.number, now);
        }
    });
}

/// <https://cloud.google.com/pubsub/docs/push#receive_push>
fn is_ack(status: StatusCode) -> bool {
    [102, 200, 201, 202, 204].contains(&status.as_u16())
}

impl Delivery {
    /// The body of the push request.
    #[must_use]
    pub fn envelope(&self) -> String {
        let message = MessageBody::of(&self.message);
        let (message_id, publish_time) = (message.message_id.clone(), message.publish_time.clone());
        let envelope = Envelope {
            message: PushedMessage { message, message_id, publish_time },
            subscription: format!("projects/{PROJECT}/subscriptions/{}", self.subscription),
            delivery_attempt: self.attempt,
        };
        // Serialization cannot fail: all keys are text.
        serde_json::to_string(&envelope).unwrap_or_default()
    }
}
