//! The first step of an effect: getting the right to make the call.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    Failure, Outcome, Runtime,
    context::Subject,
    effect::AnyEffect,
    message::Outgoing,
    receipt::{self, Claim, Done, Found, Phase, Receipt, State},
    store::{CommitError, Precondition, Version, Write},
    timing,
    transaction::{Seal, Sealed, commit, transact},
};

/// What a delivery has to do, now that the event is claimed.
pub(crate) enum Claimed {
    /// It holds the claim: it makes the call, or completes if the call was made before.
    Held(Box<Held>),
    /// There is no call to make. It relays these events.
    Over(Vec<Outgoing>, Outcome),
}

/// A claim as this delivery knows it. Whoever changes the claim changes the receipt's version.
pub(crate) struct Held {
    pub(crate) receipt: Receipt,
    pub(crate) claim: Claim,
    pub(crate) version: Version,
    /// Before this, the store cannot have committed the claim.
    pub(crate) since: Instant,
}

/// Claims the event, or waits for the delivery that has claimed it. The alternative to waiting is a
/// nack, and each nack uses up one of the message's delivery attempts.
pub(crate) async fn claim(
    effect: &dyn AnyEffect,
    runtime: &Runtime,
    subject: &Subject,
    data: &[u8],
) -> Result<Claimed, Failure> {
    let (token, key) = (runtime.ports().random.nonce(), runtime.ports().random.nonce());
    let since = Instant::now();
    let seal = |call: Option<String>, events: Vec<Outgoing>| match call {
        Some(_) if !events.is_empty() => {
            Err(Failure::Retry("a claim published before its effect".to_owned()))
        }
        Some(call) => {
            let claim = Claim {
                token: token.clone(),
                key: key.clone(),
                call,
                phase: Phase::Performing,
                is_repeated: false,
            };
            Ok(Seal::Write(State::Claimed { claim }))
        }
        None => Ok(Seal::Write(State::Done(Done { events, ..Done::default() }))),
    };
    let sealed = transact(runtime, subject, Precondition::Absent, |cx| effect.claim(data, cx), seal);
    match sealed.await? {
        Sealed::Ours(receipt, version) => Ok(match receipt.state.clone() {
            State::Done(done) => Claimed::Over(done.events, Outcome::Handled),
            State::Claimed { claim } => Claimed::Held(Box::new(Held { receipt, claim, version, since })),
        }),
        Sealed::Theirs(found) => wait(runtime, subject, &token, since, found).await,
    }
}

/// Waits until the holder of the claim is done, or takes the claim over once its lease has ended.
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
        let Found { receipt, version, age } = found;
        let mut claim = match receipt.state {
            State::Done(done) => return Ok(Claimed::Over(done.events, Outcome::Duplicate)),
            State::Claimed { ref claim } => claim.clone(),
        };
        match &claim.phase {
            Phase::Performed(_) => {
                return Ok(Claimed::Held(Box::new(Held { receipt, claim, version, since })));
            }
            // The answer to our own commit was lost.
            Phase::Performing if claim.token == token => {
                return Ok(Claimed::Held(Box::new(Held { receipt, claim, version, since })));
            }
            Phase::Performing if age < timing::LEASE => {
                tokio::time::sleep(poll).await;
                poll = (poll * 2).min(Duration::from_millis(500));
            }
            Phase::Performing | Phase::Released => {
                token.clone_into(&mut claim.token);
                claim.phase = Phase::Performing;
                claim.is_repeated = true;
                let receipt = receipt.in_state(State::Claimed { claim: claim.clone() });
                let change = receipt.to_change()?;
                let write = Write { path: path.clone(), change, only_if: Precondition::At(version) };
                since = Instant::now();
                match commit(store, &[write]).await {
                    Ok(versions) => {
                        let version = versions.first().copied().unwrap_or(version);
                        return Ok(Claimed::Held(Box::new(Held { receipt, claim, version, since })));
                    }
                    Err(CommitError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let gone = || Failure::Retry("the claim was abandoned".to_owned());
        found = Receipt::read(store, &path).await?.ok_or_else(gone)?;
    }
}

impl Held {
    /// The claim's receipt in another phase, on the condition that this delivery still holds it.
    pub(crate) fn in_phase(&self, subject: &Subject, phase: Phase) -> Result<Write, Failure> {
        let claim = Claim { phase, ..self.claim.clone() };
        let change = self.receipt.in_state(State::Claimed { claim }).to_change()?;
        let path = receipt::path(subject.service, &subject.key);
        Ok(Write { path, change, only_if: Precondition::At(self.version) })
    }
}
