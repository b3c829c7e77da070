//! The second and third steps of an effect: the call, and the record of its outcome.

use std::{any::Any, panic::resume_unwind, sync::Arc};

use tokio::time::{Instant, timeout};

use crate::{
    Context, Failure, Runtime,
    claim::Held,
    context::Subject,
    effect::AnyEffect,
    guard::{Guarded, guard},
    message::Outbox,
    receipt::{self, Found, Phase, Receipt, State},
    store::{CommitError, Precondition},
    transaction::{Sealed, commit, pause, transact},
};

/// A delivery that holds the claim of its event.
pub(crate) struct Performing {
    pub(crate) effect: Arc<dyn AnyEffect>,
    pub(crate) runtime: Runtime,
    pub(crate) subject: Arc<Subject>,
}

impl Performing {
    /// Makes the call, unless an earlier delivery has made it, and records the outcome. Then it relays.
    pub(crate) async fn call_and_record(self, mut held: Held) -> Result<(), Failure> {
        let completed = match &held.claim.phase {
            Phase::Performed(outcome) => self.complete(&held, outcome).await,
            Phase::Refused(reason) => {
                self.abandon(&held, reason).await.map_err(Unrecorded::into_failure)?;
                return Err(if held.about.may_be_replayed(&self.subject) {
                    Failure::Retry(format!(
                        "the call was refused before, and the next delivery repeats it: {reason}"
                    ))
                } else {
                    Failure::Reject(reason.clone())
                });
            }
            Phase::Performing | Phase::Released => {
                let crash = &self.runtime.ports().crash;
                crash.point("claimed").await;
                let outcome = self.perform(&mut held).await?;
                crash.point("performed").await;
                match self.complete(&held, &outcome).await {
                    unrecorded @ Err(Unrecorded::Failed(_) | Unrecorded::Panicked(_)) => {
                        if self.keep(&mut held, Phase::Performed(outcome.clone())).await {
                            unrecorded
                        } else {
                            // The claim cannot keep the outcome, so this tries once more to complete.
                            self.complete(&held, &outcome).await
                        }
                    }
                    completed => completed,
                }
            }
        };
        let outbox = completed.map_err(Unrecorded::into_failure)?;
        self.runtime.ports().crash.point("committed").await;
        self.runtime.relay(&outbox).await
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
                    true => Err(Unrecorded::Failed(Failure::Reject(reason.clone()))),
                    false => self.abandon(held, &reason).await,
                };
                if let Err(unrecorded) = abandoned {
                    // The next delivery makes no second call.
                    self.keep(held, Phase::Refused(reason)).await;
                    return Err(unrecorded.into_failure());
                }
                Err(Failure::Reject(reason))
            }
            // The other side may still be at work, so the claim stays until its lease ends.
            Err(_) => Err(Failure::Retry("the call did not end in time".to_owned())),
        }
    }

    /// Records the outcome, and returns the outbox to relay.
    async fn complete(&self, held: &Held, outcome: &str) -> Result<Outbox, Unrecorded> {
        let run = |cx| self.effect.complete(&held.claim.call, outcome, cx);
        match self.record(held, &self.subject, run, |(), outbox| Ok(State::done(outbox))).await? {
            State::Done(done) => Ok(done.outbox),
            State::Claimed { .. } | State::Abandoned { .. } => Err(Unrecorded::TakenOver),
        }
    }

    /// Abandons the claim. The effect undoes or marks the writes that were committed with it.
    async fn abandon(&self, held: &Held, reason: &str) -> Result<(), Unrecorded> {
        // The message that was refused, and not its replay: a replay of the receipt's own message makes no call.
        let message_id = held.about.message_id.clone();
        let subject = Arc::new(Subject { message_id, ..Subject::clone(&self.subject) });
        let run = |cx| self.effect.abandon(&held.claim.call, cx);
        let seal = |(), outbox: Outbox| match outbox.is_empty() {
            true => Ok(State::Abandoned { reason: reason.to_owned() }),
            false => Err(Failure::Retry("a claim published while it was abandoned".to_owned())),
        };
        match self.record(held, &subject, run, seal).await? {
            // Ours, even if the answer to the commit was lost: a takeover never abandons.
            State::Abandoned { .. } => Ok(()),
            State::Claimed { .. } | State::Done(_) => Err(Unrecorded::TakenOver),
        }
    }

    /// Ends the claim in one transaction, which may fail, hang or panic. Returns the state of the receipt.
    async fn record<Fut: Future<Output = Result<(), Failure>>>(
        &self,
        held: &Held,
        subject: &Arc<Subject>,
        run: impl Fn(Context) -> Fut,
        seal: impl Fn((), Outbox) -> Result<State, Failure>,
    ) -> Result<State, Unrecorded> {
        // A takeover changes the receipt.
        let only_if = Precondition::At(held.version);
        let recorded = transact(&self.runtime, subject, only_if, run, seal);
        match guard(Instant::now() + self.runtime.timing().completion, recorded).await {
            Guarded::Done(Ok(Sealed::Ours(receipt, _) | Sealed::Existing(Found { receipt, .. }))) => {
                Ok(receipt.state)
            }
            Guarded::Done(Err(failure)) => Err(Unrecorded::Failed(failure)),
            Guarded::Panicked(panic) => Err(Unrecorded::Panicked(panic)),
            Guarded::Late => {
                let reason = "the result of the call could not be recorded in time";
                Err(Unrecorded::Failed(Failure::Retry(reason.to_owned())))
            }
        }
    }

    /// Keeps the outcome or the refusal in the claim, so that the call is not made again. While the store does
    /// not answer, it tries for [`keep_trying`](crate::Timing::keep_trying). Returns false if this delivery
    /// should try once more to complete.
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
        if let Err(error) = commit(&*self.runtime.ports().store, &[write]).await {
            tracing::debug!(%error, "the claim stays until its lease ends");
        }
    }
}

/// Why a delivery has not recorded the result of the call.
enum Unrecorded {
    /// Another delivery has taken the claim over.
    TakenOver,
    Failed(Failure),
    Panicked(Box<dyn Any + Send>),
}

impl Unrecorded {
    /// The failure of the delivery. A panic goes on.
    fn into_failure(self) -> Failure {
        match self {
            Self::TakenOver => Failure::Retry("another delivery took the claim over".to_owned()),
            Self::Failed(failure) => failure,
            Self::Panicked(panic) => resume_unwind(panic),
        }
    }
}
