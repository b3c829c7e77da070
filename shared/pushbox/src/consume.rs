//! From a delivery to its outcome.

use std::sync::Arc;

use tokio::time::timeout;
use tracing::Instrument;

use crate::{
    Failure, Outcome, Runtime,
    claim::{Claimed, claim},
    context::Subject,
    dead_letter::dead_letter,
    delivery::Delivery,
    detach::DetachOnDrop,
    effect::AnyEffect,
    key::Key,
    perform::Performing,
    receipt::State,
    service::{Handler, Step},
    store::Precondition,
    trace::Trace,
    transaction::{Sealed, transact},
    wire::code,
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
    let subject = runtime.subject_of(delivery, key.clone(), trace);
    match handler {
        Handler::Transaction(step) => in_one_commit(runtime, step, &subject, data).await,
        Handler::Effect(effect) => with_one_call(runtime, effect, subject, data).await,
    }
}

/// Handles an event in one transaction, within the handler's deadline.
async fn in_one_commit(
    runtime: &Runtime,
    step: &Step,
    subject: &Arc<Subject>,
    data: &[u8],
) -> Result<Outcome, Failure> {
    let handled = async {
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
    };
    let late = |_| Failure::Retry("the handler's deadline passed".to_owned());
    timeout(runtime.timing().handler, handled).await.map_err(late)?
}

/// Handles an event with one call to the outside, in three steps: the claim, the call, and the record of its outcome.
async fn with_one_call(
    runtime: &Runtime,
    effect: &Arc<dyn AnyEffect>,
    subject: Arc<Subject>,
    data: &[u8],
) -> Result<Outcome, Failure> {
    let claimed = timeout(runtime.timing().claim, claim(&**effect, runtime, &subject, data)).await;
    let late = |_| {
        Failure::Retry(
            "claiming, or waiting for another delivery that holds the claim, took too long".to_owned(),
        )
    };
    match claimed.map_err(late)?? {
        Claimed::Over(outbox, outcome) => runtime.relay(&outbox).await.map(|()| outcome),
        Claimed::Held(held) => {
            let performing = Performing { effect: effect.clone(), runtime: runtime.clone(), subject };
            // A call cannot be taken back, so this continues in the background if the caller hangs up.
            let recorded = performing.call_and_record(*held).in_current_span();
            DetachOnDrop::new(&runtime.ports().background, recorded).await.map(|()| Outcome::Handled)
        }
    }
}
