//! From a delivery to its outcome.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::timeout;

use crate::{
    Failure, Message, Outcome, Runtime,
    context::Subject,
    delivery::Delivery,
    key::Key,
    message::limits,
    origin::Origin,
    perform,
    receipt::State,
    service::{Handler, Step},
    store::Precondition,
    trace::Trace,
    transaction::{Sealed, transact},
    wire::{self, attribute},
};

/// Handles a delivery. A rejected message becomes a dead letter.
pub(crate) async fn consume(runtime: &Runtime, delivery: &Delivery, key: &Key, trace: Trace) -> Outcome {
    match handle(runtime, delivery, key, trace).await {
        Ok(outcome) => outcome,
        Err(Failure::Retry(reason)) => Outcome::Retry(reason),
        Err(Failure::Reject(reason)) => match dead_letter(runtime, delivery, &reason).await {
            Ok(()) => Outcome::Rejected(reason),
            Err(Failure::Retry(error) | Failure::Reject(error)) => {
                Outcome::Retry(format!("{reason}; and the dead letter could not be published: {error}"))
            }
        },
    }
}

async fn handle(runtime: &Runtime, delivery: &Delivery, key: &Key, trace: Trace) -> Result<Outcome, Failure> {
    let reject = |reason: &str| Failure::Reject(reason.to_owned());
    let Some(event_type) = delivery.event_type().map_err(reject)? else {
        return Err(reject("neither the attribute ce-type nor the field `event` says what this is"));
    };
    let Some(handler) = runtime.handler(&event_type) else { return Ok(Outcome::Ignored) };
    let data = delivery.data.as_ref().map_err(|reason| Failure::Reject((*reason).to_owned()))?;
    let message_id = Some(delivery.message_id.clone());
    let (origin, time) = (Origin::of_event(delivery), delivery.time());
    let subject = runtime.subject(key.clone(), message_id, delivery.is_replay(), time, origin, trace);
    match handler {
        Handler::Transaction(step) => {
            let late = |_| Failure::Retry("the handler's deadline passed".to_owned());
            timeout(runtime.timing().handler, run(runtime, step, &subject, data)).await.map_err(late)?
        }
        Handler::Effect(effect) => perform::handle(effect, runtime, subject, data).await,
    }
}

/// Handles an event in one transaction.
async fn run(
    runtime: &Runtime,
    step: &Step,
    subject: &Arc<Subject>,
    data: &[u8],
) -> Result<Outcome, Failure> {
    let seal = |(), outbox| Ok(State::done(outbox));
    let (state, outcome) =
        match transact(runtime, subject, Precondition::Absent, |cx| step(data, cx), seal).await? {
            Sealed::Ours(receipt, _) => (receipt.state, Outcome::Handled),
            // The first delivery may have died before its relay, so a duplicate relays, too.
            Sealed::Existing(found) => (found.receipt.state, Outcome::Duplicate),
        };
    runtime.ports().crash.point("committed").await;
    match state {
        State::Done(done) => runtime.relay(&done.outbox).await.map(|()| outcome),
        State::Claimed { .. } | State::Abandoned { .. } => {
            Err(Failure::Retry("an earlier release has claimed this event".to_owned()))
        }
    }
}

/// Publishes the message to the service's dead-letter topic, with the reason.
async fn dead_letter(runtime: &Runtime, delivery: &Delivery, reason: &str) -> Result<(), Failure> {
    let added = [
        (attribute::DEAD_LETTER_REASON, reason),
        (attribute::DEAD_LETTER_SERVICE, runtime.name()),
        (attribute::DEAD_LETTER_SUBSCRIPTION, delivery.subscription.as_deref().unwrap_or_default()),
        (attribute::DEAD_LETTER_MESSAGE_ID, delivery.identity()),
    ];
    let attributes = limits::fitting(&delivery.attributes, &BTreeMap::from(added));
    let topic = wire::dead_letter_topic(runtime.name());
    runtime.ports().publisher.publish(Message { topic, attributes, data: delivery.raw.clone() }).await?;
    Ok(())
}
