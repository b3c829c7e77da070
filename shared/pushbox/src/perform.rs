//! The second and third steps of an effect: the call, and the record of its outcome.

use std::{any::Any, panic::resume_unwind, sync::Arc};

use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::{
    Failure, Outcome, Runtime,
    claim::{Claimed, Held, claim},
    context::Subject,
    detach::DetachOnDrop,
    effect::AnyEffect,
    fault,
    guard::{Guarded, guard},
    message::Outgoing,
    receipt::{self, Found, Phase, Receipt, State},
    store::{CommitError, Precondition},
    transaction::{Sealed, commit, pause, transact},
};

/// Handles an event with one call to the outside.
pub(crate) async fn handle(
    effect: &Arc<dyn AnyEffect>,
    runtime: &Runtime,
    subject: Subject,
    data: &[u8],
) -> Result<Outcome, Failure> {
    let claimed = timeout(runtime.timing().claim, claim(&**effect, runtime, &subject, data)).await;
    let late = || {
        Failure::Retry(
            "claiming, or waiting for another delivery that holds the claim, took too long".to_owned(),
        )
    };
    let held = match claimed.map_err(|_| late())?? {
        Claimed::Held(held) => held,
        Claimed::Over(events, outcome) => {
            runtime.relay(&events).await?;
            return Ok(outcome);
        }
    };
    let performing = Performing { effect: effect.clone(), runtime: runtime.clone(), subject };
    // A call cannot be taken back, so this continues in the background if the caller hangs up.
    let settled = performing.settle(*held).in_current_span();
    DetachOnDrop::new(&runtime.ports().background, settled).await.map(|()| Outcome::Handled)
}

struct Performing {
    effect: Arc<dyn AnyEffect>,
    runtime: Runtime,
    subject: Subject,
}

impl Performing {
    async fn settle(self, mut held: Held) -> Result<(), Failure> {
        let completion = match &held.claim.phase {
            Phase::Performed(outcome) => self.complete(&held, outcome).await,
            Phase::Refused(reason) => {
                self.abandon(&held, reason).await?;
                return Err(Failure::Reject(reason.clone()));
            }
            Phase::Performing | Phase::Released => {
                fault::point("claimed").await;
                let outcome = self.perform(&mut held).await?;
                fault::point("performed").await;
                match self.complete(&held, &outcome).await {
                    completion @ (Completion::Failed(_) | Completion::Panicked(_)) => {
                        if self.keep(&mut held, Phase::Performed(outcome.clone())).await {
                            completion
                        } else {
                            // The claim cannot keep the outcome, so this tries once more to complete.
                            self.complete(&held, &outcome).await
                        }
                    }
                    completion => completion,
                }
            }
        };
        let events = match completion {
            Completion::Recorded(events) => events,
            Completion::TakenOver => return Err(taken_over()),
            Completion::Failed(failure) => return Err(failure),
            Completion::Panicked(panic) => resume_unwind(panic),
        };
        fault::point("committed").await;
        self.runtime.relay(&events).await
    }

    async fn perform(&self, held: &mut Held) -> Result<String, Failure> {
        if held.since.elapsed() > self.runtime.timing().claim_patience {
            self.release(held).await;
            return Err(Failure::Retry("claiming took too long for the call to follow".to_owned()));
        }
        let call = self.effect.perform(&held.claim.call, &held.claim.key);
        match timeout(self.runtime.timing().call_cut_off, call).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(Failure::Retry(reason))) => {
                held.claim.may_have_called = true;
                self.release(held).await;
                Err(Failure::Retry(reason))
            }
            Ok(Err(Failure::Reject(reason))) => {
                // If an earlier attempt may have made the call, a replay must use the same key.
                let abandoned = match held.claim.may_have_called {
                    true => Err(Failure::Reject(reason.clone())),
                    false => self.abandon(held, &reason).await,
                };
                if let Err(failure) = abandoned {
                    // The next delivery makes no second call.
                    self.keep(held, Phase::Refused(reason)).await;
                    return Err(failure);
                }
                Err(Failure::Reject(reason))
            }
            // The other side may still be at work, so the claim stays until its lease ends.
            Err(_) => Err(Failure::Retry("the call did not end in time".to_owned())),
        }
    }

    /// Records the outcome.
    async fn complete(&self, held: &Held, outcome: &str) -> Completion {
        let completed = transact(
            &self.runtime,
            &self.subject,
            // A takeover changes the receipt.
            Precondition::At(held.version),
            |cx| self.effect.complete(&held.claim.call, outcome, cx),
            |(), events| Ok(State::done(events)),
        );
        let receipt = match guard(Instant::now() + self.runtime.timing().completion, completed).await {
            Guarded::Done(Ok(Sealed::Ours(receipt, _) | Sealed::Existing(Found { receipt, .. }))) => receipt,
            Guarded::Done(Err(failure)) => return Completion::Failed(failure),
            Guarded::Panicked(panic) => return Completion::Panicked(panic),
            Guarded::Late => {
                let reason = "the outcome could not be recorded in time";
                return Completion::Failed(Failure::Retry(reason.to_owned()));
            }
        };
        match receipt.state {
            State::Done(done) => Completion::Recorded(done.events),
            State::Claimed { .. } | State::Abandoned { .. } => Completion::TakenOver,
        }
    }

    /// Keeps the outcome or the refusal in the claim, so that the call is not made again. It tries until the store accepts
    /// the write or another delivery has taken the claim over, at most for
    /// [`keep_trying`](crate::Timing::keep_trying). Returns whether the outcome is kept.
    async fn keep(&self, held: &mut Held, phase: Phase) -> bool {
        let Ok(write) = held.enter(&self.subject, phase) else { return false };
        let mut attempt = 0;
        while held.since.elapsed() < self.runtime.timing().keep_trying {
            match commit(&*self.runtime.ports().store, std::slice::from_ref(&write)).await {
                Ok(_) => return true,
                Err(CommitError::Conflict) if self.is_held(held).await => pause(attempt).await,
                // Another delivery holds the claim, or the completion went through.
                Err(CommitError::Conflict) => return true,
                Err(CommitError::Refused(error)) => {
                    tracing::error!(error, "an outcome cannot be kept: the call may be made again");
                    return false;
                }
                Err(CommitError::Failed(_) | CommitError::Unknown(_)) => pause(attempt).await,
            }
            attempt += 1;
        }
        tracing::error!("an outcome could not be kept: the call may be made again");
        false
    }

    /// Whether the claim is unchanged, as far as is known. A store also reports a conflict if another
    /// transaction has only read the document.
    async fn is_held(&self, held: &Held) -> bool {
        let path = receipt::path(self.subject.service, &self.subject.key);
        match Receipt::read(&*self.runtime.ports().store, &path).await {
            Ok(found) => found.is_some_and(|found| found.version == held.version),
            Err(_) => true,
        }
    }

    /// Lets the next delivery take the claim over at once. If this fails, that delivery waits for the lease.
    async fn release(&self, held: &mut Held) {
        let Ok(write) = held.enter(&self.subject, Phase::Released) else { return };
        if let Err(error) = self.runtime.ports().store.commit(&[write]).await {
            tracing::debug!(%error, "the claim stays until its lease ends");
        }
    }

    /// Abandons the claim, and undoes the writes that were committed with it.
    async fn abandon(&self, held: &Held, reason: &str) -> Result<(), Failure> {
        let abandoned = transact(
            &self.runtime,
            &self.subject,
            Precondition::At(held.version),
            |cx| self.effect.abandon(&held.claim.call, cx),
            |(), events| match events.is_empty() {
                true => Ok(State::Abandoned { reason: reason.to_owned() }),
                false => Err(Failure::Retry("a claim published while it was abandoned".to_owned())),
            },
        );
        let late = || Failure::Retry("the claim could not be abandoned in time".to_owned());
        let abandoned = timeout(self.runtime.timing().completion, abandoned).await.map_err(|_| late())?;
        match abandoned? {
            Sealed::Ours(..) => Ok(()),
            // The answer to our own commit was lost: a takeover never abandons.
            Sealed::Existing(Found { receipt: Receipt { state: State::Abandoned { .. }, .. }, .. }) => Ok(()),
            Sealed::Existing(_) => Err(taken_over()),
        }
    }
}

/// The end of an attempt to record an outcome.
enum Completion {
    /// The outcome is recorded, by this delivery or by another one, with these events.
    Recorded(Vec<Outgoing>),
    /// Another delivery has taken the claim over.
    TakenOver,
    Failed(Failure),
    Panicked(Box<dyn Any + Send>),
}

fn taken_over() -> Failure {
    Failure::Retry("another delivery took the claim over".to_owned())
}
