//! From a delivery to its outcome.

use std::panic::AssertUnwindSafe;

use axum::http::StatusCode;
use futures::FutureExt;

use crate::{
    Failure, Message, Runtime,
    delivery::Delivery,
    fault,
    receipt::Receipt,
    service::Handler,
    store::Precondition,
    timing,
    trace::Trace,
    transaction::{Sealed, transact},
};

/// What became of a delivery, which decides whether Pub/Sub delivers the message again.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Handled now.
    Handled,
    /// There was a receipt for it already.
    Duplicate,
    /// No event of a type that this service handles.
    Ignored,
    /// Not now; deliver again.
    Retry(String),
    /// Never; it is a dead letter now.
    Rejected(String),
    /// The handler panicked; deliver again.
    Panicked,
}

impl Outcome {
    /// How Pub/Sub is told. <https://cloud.google.com/pubsub/docs/push#receive_push>
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Handled | Self::Duplicate | Self::Ignored | Self::Rejected(_) => StatusCode::NO_CONTENT,
            Self::Retry(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Handles a delivery. It always ends, and never panics.
pub(crate) async fn consume(runtime: &Runtime, delivery: &Delivery, trace: Trace) -> Outcome {
    let handling = tokio::time::timeout(timing::HANDLER_DEADLINE, handle(runtime, delivery, trace));
    let failure = match AssertUnwindSafe(handling).catch_unwind().await {
        Ok(Ok(Ok(outcome))) => return outcome,
        Ok(Ok(Err(failure))) => failure,
        Ok(Err(_)) => Failure::Retry("the handler's deadline passed".to_owned()),
        Err(_) => return Outcome::Panicked,
    };
    match failure {
        Failure::Retry(reason) => Outcome::Retry(reason),
        Failure::Reject(reason) => match dead_letter(runtime, delivery, &reason).await {
            Ok(()) => Outcome::Rejected(reason),
            Err(Failure::Retry(error) | Failure::Reject(error)) => {
                Outcome::Retry(format!("{reason}; and it could not be parked: {error}"))
            }
        },
    }
}

async fn handle(runtime: &Runtime, delivery: &Delivery, trace: Trace) -> Result<Outcome, Failure> {
    let reject = |reason: &str| Failure::Reject(reason.to_owned());
    let Some(event_type) = delivery.event_type().map_err(reject)? else {
        return Err(reject("neither the attribute ce-type nor the field `event` says what this is"));
    };
    let Some(handler) = runtime.handler(&event_type) else { return Ok(Outcome::Ignored) };
    let data = delivery.data.as_ref().map_err(|reason| Failure::Reject((*reason).to_owned()))?;
    let subject = runtime.subject(delivery.key(), delivery.time(), trace);
    match handler {
        Handler::Transaction(run) => {
            let seal = |(), receipt: &mut Receipt| {
                receipt.message_id = Some(delivery.message_id.clone());
                Ok(())
            };
            let sealed = transact(runtime, &subject, Precondition::Absent, |cx| run(data, cx), seal);
            let (receipt, outcome) = match sealed.await? {
                Sealed::Ours(receipt, _) => (receipt, Outcome::Handled),
                // The first attempt may have died before its relay.
                Sealed::Theirs(receipt, _) => (receipt, Outcome::Duplicate),
            };
            fault::point("committed").await;
            runtime.relay(&receipt.events).await?;
            Ok(outcome)
        }
        Handler::Effect(effect) => effect.handle(runtime, &subject, &delivery.message_id, data).await,
    }
}

/// Parks a message with the reason, for a person to look at.
async fn dead_letter(runtime: &Runtime, delivery: &Delivery, reason: &str) -> Result<(), Failure> {
    // The most that an attribute can hold.
    let cut = reason.floor_char_boundary(1024);
    let added = [
        ("dead-letter-reason", &reason[..cut]),
        ("dead-letter-service", runtime.name()),
        ("dead-letter-subscription", delivery.subscription.as_deref().unwrap_or_default()),
        ("dead-letter-message-id", &delivery.message_id),
    ];
    let mut attributes = delivery.attributes.clone();
    attributes.extend(added.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let topic = crate::catalog::dead_letter_topic(runtime.name());
    runtime.ports().publisher.publish(Message { topic, attributes, data: delivery.raw.clone() }).await?;
    Ok(())
}
