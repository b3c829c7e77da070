//! From a delivery to its outcome.

use std::{collections::BTreeMap, panic::AssertUnwindSafe};

use futures::FutureExt;
use tokio::time::timeout;

use crate::{
    Failure, Message, Outcome, Runtime,
    context::Subject,
    delivery::Delivery,
    fault,
    message::{attribute, limits},
    perform,
    receipt::{Done, State},
    service::{Handler, Step},
    store::Precondition,
    timing,
    trace::Trace,
    transaction::{Seal, Sealed, transact},
};

/// Handles a delivery. It always ends, and never panics.
pub(crate) async fn consume(runtime: &Runtime, delivery: &Delivery, trace: Trace) -> Outcome {
    let failure = match AssertUnwindSafe(handle(runtime, delivery, trace)).catch_unwind().await {
        Ok(Ok(outcome)) => return outcome,
        Ok(Err(failure)) => failure,
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
    let message_id = Some(delivery.message_id.clone());
    let subject = runtime.subject(delivery.key(), message_id, delivery.time(), trace);
    match handler {
        Handler::Transaction(step) => {
            let late = |_| Failure::Retry("the handler's deadline passed".to_owned());
            timeout(timing::HANDLER_DEADLINE, run(runtime, step, &subject, data)).await.map_err(late)?
        }
        Handler::Effect(effect) => perform::handle(effect, runtime, subject, data).await,
    }
}

/// Handles an event in one transaction.
async fn run(runtime: &Runtime, step: &Step, subject: &Subject, data: &[u8]) -> Result<Outcome, Failure> {
    let seal = |(), events| Ok(Seal::Write(State::Done(Done { events, ..Done::default() })));
    let (state, outcome) =
        match transact(runtime, subject, Precondition::Absent, |cx| step(data, cx), seal).await? {
            Sealed::Ours(receipt, _) => (receipt.state, Outcome::Handled),
            // The first attempt may have died before its relay.
            Sealed::Theirs(found) => (found.receipt.state, Outcome::Duplicate),
        };
    fault::point("committed").await;
    match state {
        State::Done(done) => runtime.relay(&done.events).await.map(|()| outcome),
        State::Claimed { .. } => Err(Failure::Retry("an earlier release has claimed this event".to_owned())),
    }
}

/// Parks a message with the reason, for a person to look at.
async fn dead_letter(runtime: &Runtime, delivery: &Delivery, reason: &str) -> Result<(), Failure> {
    let added = [
        ("dead-letter-reason", reason),
        ("dead-letter-service", runtime.name()),
        ("dead-letter-subscription", delivery.subscription.as_deref().unwrap_or_default()),
        (attribute::PARKED_MESSAGE_ID, delivery.identity()),
    ];
    let attributes = limits::fitting(&delivery.attributes, &BTreeMap::from(added));
    let topic = crate::catalog::dead_letter_topic(runtime.name());
    runtime.ports().publisher.publish(Message { topic, attributes, data: delivery.raw.clone() }).await?;
    Ok(())
}
