//! Messages that leave the subscription: to the dead-letter topic of their service.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{
    Failure, Message, Outcome, Runtime,
    delivery::Delivery,
    guard::{Guarded, guard},
    key::Key,
    message::limits,
    receipt::{self, Found, Phase, Receipt, State},
    store::StoreError,
    wire::{self, attribute, code},
};

/// Moves a message that has failed too often to the dead-letter topic, shortly before Pub/Sub would. Any other outcome
/// stays as it is. The deadline is later than the delivery's own, which may have passed.
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
    let moved = async {
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
    match guard(deadline, Box::pin(moved)).await {
        Guarded::Done(Ok(())) => Outcome::Rejected(reason),
        Guarded::Done(Err(Failure::Retry(error) | Failure::Reject(error))) => stays(outcome, &error),
        Guarded::Late => stays(outcome, "this took too long"),
        Guarded::Panicked(_) => stays(outcome, "this panicked"),
    }
}

fn stays(outcome: Outcome, error: &str) -> Outcome {
    tracing::warn!(error, "the message is not moved to the dead-letter topic");
    outcome
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
pub(crate) async fn dead_letter(
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
