//! The first step of an effect: a delivery gets the right to make the call.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    Failure, Outcome, Runtime,
    context::Subject,
    effect::AnyEffect,
    message::Outbox,
    receipt::{self, About, Claim, Found, Phase, Receipt, State},
    reject,
    store::{CommitError, Precondition, Version, Write},
    transaction::{Sealed, commit, missing_version, transact},
};

/// What a delivery does next.
pub(crate) enum Claimed {
    /// It holds the claim. It makes the call, or completes if an earlier delivery made the call.
    Held(Box<Held>),
    /// There is no call to make. It relays this outbox.
    Over(Outbox, Outcome),
}

/// A claim as this delivery knows it. Any change of the claim changes the receipt's version.
pub(crate) struct Held {
    pub(crate) about: About,
    pub(crate) claim: Claim,
    pub(crate) version: Version,
    /// The store cannot have committed the claim before this.
    pub(crate) since: Instant,
}

/// Claims the event, or waits for the delivery that has claimed it. The alternative to waiting is a nack,
/// and each nack uses up one of the message's delivery attempts.
pub(crate) async fn claim(
    effect: &dyn AnyEffect,
    runtime: &Runtime,
    subject: &Arc<Subject>,
    data: &[u8],
) -> Result<Claimed, Failure> {
    let (token, key) = (runtime.ports().random.nonce(), runtime.ports().random.nonce());
    let since = Instant::now();
    let seal = |call: Option<String>, outbox: Outbox| match call {
        Some(_) if !outbox.is_empty() => {
            Err(Failure::Retry("a claim published before its effect".to_owned()))
        }
        Some(call) => {
            let claim = Claim {
                token: token.clone(),
                key: key.clone(),
                call,
                phase: Phase::Performing,
                may_have_called: false,
            };
            Ok(State::Claimed { claim })
        }
        None => Ok(State::done(outbox)),
    };
    match transact(runtime, subject, Precondition::Absent, |cx| effect.claim(data, cx), seal).await? {
        Sealed::Ours(Receipt { about, state }, version) => match state {
            State::Done(done) => Ok(Claimed::Over(done.outbox, Outcome::Handled)),
            State::Claimed { claim } => Ok(Claimed::Held(Box::new(Held { about, claim, version, since }))),
            State::Abandoned { reason } => Err(Failure::Reject(reason)),
        },
        Sealed::Existing(found) => wait(runtime, subject, &token, since, found).await,
    }
}

/// Waits until the holder of the claim is done, or takes the claim over after its lease.
async fn wait(
    runtime: &Runtime,
    subject: &Subject,
    token: &str,
    mut since: Instant,
    mut found: Found,
) -> Result<Claimed, Failure> {
    let store = &*runtime.ports().store;
    let path = receipt::path(subject.service, &subject.key);
    let mut poll = Duration::from_millis(50);
    loop {
        let Found { receipt: Receipt { mut about, state }, version, age } = found;
        let mut claim = match state {
            State::Done(done) => return Ok(Claimed::Over(done.outbox, Outcome::Duplicate)),
            State::Claimed { claim } => claim,
            // Another delivery of this event was refused. Only a replay calls again.
            State::Abandoned { reason } => return Err(Failure::Reject(reason)),
        };
        let is_held = match &claim.phase {
            Phase::Performed(_) => true,
            // The holder could not abandon the claim, so this delivery does.
            Phase::Refused(_) => !claim.may_have_called,
            // The answer to our own commit was lost.
            Phase::Performing => claim.token == token,
            Phase::Released => false,
        };
        if is_held {
            return Ok(Claimed::Held(Box::new(Held { about, claim, version, since })));
        }
        match &claim.phase {
            Phase::Refused(reason) if !about.may_be_replayed(subject) => {
                return Err(Failure::Reject(reason.clone()));
            }
            Phase::Performing if age < runtime.timing().lease => {
                tokio::time::sleep(poll).await;
                poll = (poll * 2).min(Duration::from_millis(500));
            }
            _ => {
                claim.may_have_called |= matches!(claim.phase, Phase::Performing);
                token.clone_into(&mut claim.token);
                since = Instant::now();
                about.message_id.clone_from(&subject.message_id);
                let mut held = Held { about, claim, version, since };
                let write = held.enter(subject, Phase::Performing)?;
                match commit(store, &[write]).await {
                    Ok(versions) => {
                        held.version = versions.first().copied().ok_or_else(missing_version)?;
                        return Ok(Claimed::Held(Box::new(held)));
                    }
                    Err(CommitError::Conflict) => {}
                    Err(error @ CommitError::Refused(_)) => return Err(reject(error)),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let gone = || Failure::Retry("the receipt has expired".to_owned());
        found = Receipt::read(store, &path).await?.ok_or_else(gone)?;
    }
}

impl Held {
    /// Changes the phase. Returns the write that does so in the store, on the condition that this delivery
    /// still holds the claim.
    pub(crate) fn enter(&mut self, subject: &Subject, phase: Phase) -> Result<Write, Failure> {
        self.claim.phase = phase;
        let state = State::Claimed { claim: self.claim.clone() };
        let change = Receipt { about: self.about.clone(), state }.to_change()?;
        let path = receipt::path(subject.service, &subject.key);
        Ok(Write { path, change, only_if: Precondition::At(self.version) })
    }
}
