//! From a delivery to its outcome.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::{Instant, timeout};

use crate::{
    Failure, Message, Outcome, Runtime,
    context::Subject,
    delivery::Delivery,
    guard::{Guarded, guard},
    key::Key,
    message::limits,
    origin::Origin,
    perform,
    receipt::{self, Found, Phase, Receipt, State},
    service::{Handler, Step},
    store::{Precondition, StoreError},
    trace::Trace,
    transaction::{Sealed, transact},
    wire::{self, attribute, code},
};

/// Handles a delivery. A rejected message becomes a dead letter.
pub(crate) async fn consume(runtime: &Runtime, delivery: &Delivery, key: &Key, trace: Trace) -> Outcome {
    match handle(runtime, delivery, key, trace).await {
        Ok(outcome) => outcome,
        Err(Failure::Retry(reason)) => Outcome::Retry(reason),
        Err(Failure::Reject(reason)) => match dead_letter(runtime, delivery, code::REJECTED, &reason).await {
            Ok(()) => Outcome::Rejected(reason),
            Err(Failure::Retry(error) | Failure::Reject(error)) => {
                Outcome::Retry(format!("{reason}; and the dead letter could not be published: {error}"))
            }
        },
    }
}

async fn handle(runtime: &Runtime, delivery: &Delivery, key: &Key, trace: Trace) -> Result<Outcome, Failure> {
    // This comes first: whatever the message is, it concerns this service only if the replay is meant for it.
    if delivery.is_for_another(runtime.name()) {
        return Ok(Outcome::Ignored);
    }
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

/// Moves a message that has failed too often to the dead-letter topic, shortly before Pub/Sub would. Any other outcome
/// stays as it is.
pub(crate) async fn give_up(
    runtime: &Runtime,
    delivery: &Delivery,
    key: &Key,
    outcome: Outcome,
    deadline: Instant,
) -> Outcome {
    let failure = match &outcome {
        Outcome::Retry(reason) => reason,
        Outcome::Panicked => "the handler panicked",
        Outcome::Handled | Outcome::Duplicate | Outcome::Ignored | Outcome::Rejected(_) => return outcome,
    };
    let Some(attempt) = delivery.attempt.filter(|attempt| *attempt >= runtime.timing().gives_up_at()) else {
        return outcome;
    };
    let reason = format!("gave up after {attempt} deliveries: {failure}");
    let park = async {
        // After the last delivery Pub/Sub moves the message in any case, so an unreadable receipt delays this no longer.
        let is_last = attempt >= runtime.timing().max_delivery_attempts;
        if !is_unhandled(runtime, key).await.or_else(|error| if is_last { Ok(true) } else { Err(error) })? {
            return Err(Failure::Retry(
                "another delivery has handled the event, or is handling it".to_owned(),
            ));
        }
        dead_letter(runtime, delivery, code::EXHAUSTED, &reason).await
    };
    // In a box, because almost no delivery needs it.
    match guard(deadline, Box::pin(park)).await {
        Guarded::Done(Ok(())) => Outcome::Rejected(reason),
        Guarded::Done(Err(Failure::Retry(error) | Failure::Reject(error))) => {
            tracing::warn!(error, "the message is not moved to the dead-letter topic");
            outcome
        }
        Guarded::Late | Guarded::Panicked(_) => outcome,
    }
}

/// Whether no delivery has handled the event, and none is making its call. An event that is handled must not become a
/// dead letter only because its own events cannot be published.
async fn is_unhandled(runtime: &Runtime, key: &Key) -> Result<bool, StoreError> {
    let path = receipt::path(runtime.name(), key);
    let Some(Found { receipt, age, .. }) = Receipt::read(&*runtime.ports().store, &path).await? else {
        return Ok(true);
    };
    let is_over = match &receipt.state {
        State::Done(_) => false,
        State::Claimed { claim } => claim.phase != Phase::Performing || age >= runtime.timing().lease,
        State::Abandoned { .. } => true,
    };
    Ok(is_over || receipt.has_expired(runtime.now()))
}

/// Publishes the message to the service's dead-letter topic, with the code and the reason.
async fn dead_letter(
    runtime: &Runtime,
    delivery: &Delivery,
    code: &str,
    reason: &str,
) -> Result<(), Failure> {
    let added = [
        (attribute::DEAD_LETTER_CODE, code),
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
