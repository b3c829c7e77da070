//! One call to the outside world, made once: claim, perform, complete.

use std::{any::Any, sync::Arc, time::Duration};

use events::Event;
use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Context, Failure, Runtime,
    consume::Outcome,
    context::Subject,
    fault,
    receipt::{self, Claim, Receipt, digest},
    service::{Step, step},
    store::{CommitError, Precondition, Version},
    timing,
    transaction::{Sealed, commit, transact},
};

/// The three steps, with their types erased; the call travels as JSON.
#[derive(Clone)]
pub(crate) struct Effect {
    claim: Step<Option<String>>,
    perform: Arc<Perform>,
    complete: Arc<Complete>,
}

type Performed = Arc<dyn Any + Send + Sync>;
type Perform = dyn Fn(&str, String) -> Running<Performed> + Send + Sync;
type Complete = dyn Fn(&str, &Performed, Context) -> Running<()> + Send + Sync;
type Running<T> = BoxFuture<'static, Result<T, Failure>>;

impl Effect {
    pub(crate) fn new<E, C, O, ClaimFut, PerformFut, CompleteFut>(
        claim: impl Fn(E, Context) -> ClaimFut + Send + Sync + 'static,
        perform: impl Fn(C, String) -> PerformFut + Send + Sync + 'static,
        complete: impl Fn(C, O, Context) -> CompleteFut + Send + Sync + 'static,
    ) -> Self
    where
        E: Event,
        C: Serialize + DeserializeOwned + Send + 'static,
        O: Clone + Send + Sync + 'static,
        ClaimFut: Future<Output = Result<Option<C>, Failure>> + Send + 'static,
        PerformFut: Future<Output = Result<O, Failure>> + Send + 'static,
        CompleteFut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let claim = Arc::new(claim);
        Self {
            claim: step(move |event: E, cx| {
                let claim = claim.clone();
                async move {
                    let call = claim(event, cx).await?;
                    Ok(call.map(|call| serde_json::to_string(&call)).transpose()?)
                }
            }),
            perform: Arc::new(move |call, key| match serde_json::from_str::<C>(call) {
                Ok(call) => perform(call, key)
                    .map(|performed| performed.map(|outcome| Arc::new(outcome) as Performed))
                    .boxed(),
                Err(error) => futures::future::ready(Err(error.into())).boxed(),
            }),
            complete: Arc::new(move |call, performed, cx| {
                match (serde_json::from_str::<C>(call), performed.downcast_ref::<O>()) {
                    (Ok(call), Some(outcome)) => complete(call, outcome.clone(), cx).boxed(),
                    (Err(error), _) => futures::future::ready(Err(error.into())).boxed(),
                    (_, None) => unreachable!("perform and complete agree on the type"),
                }
            }),
        }
    }

    pub(crate) async fn handle(
        &self,
        runtime: &Runtime,
        subject: &Subject,
        message_id: &str,
        data: &[u8],
    ) -> Result<Outcome, Failure> {
        let token = format!("{:032x}", fastrand::u128(..));
        let claimed = transact(
            runtime,
            subject,
            Precondition::Absent,
            |cx| (self.claim)(data, cx),
            |call, receipt| {
                receipt.message_id = Some(message_id.to_owned());
                if call.is_some() && !receipt.events.is_empty() {
                    return Err(Failure::Retry("a claim published before its effect".to_owned()));
                }
                receipt.claim = call.map(|call| self.claim_for(runtime, &token, call));
                Ok(())
            },
        );
        let (receipt, version) = match claimed.await? {
            Sealed::Ours(receipt, version) => (receipt, version),
            Sealed::Theirs(receipt, version) => {
                match self.wait(runtime, subject, &token, receipt, version).await? {
                    Claimed::Ours(receipt, version) => (receipt, version),
                    Claimed::Done(receipt) => {
                        runtime.relay(&receipt.events).await?;
                        return Ok(Outcome::Duplicate);
                    }
                }
            }
        };
        let Some(claim) = receipt.claim.clone() else {
            runtime.relay(&receipt.events).await?;
            return Ok(Outcome::Handled);
        };

        fault::point("claimed").await;
        let key = digest(&["effect", subject.service, &subject.key])[..40].to_owned();
        let performed = match (self.perform)(&claim.call, key).await {
            Ok(performed) => performed,
            Err(failure) => {
                self.release(runtime, subject, receipt, version).await;
                return Err(failure);
            }
        };

        fault::point("performed").await;
        let completed = transact(
            runtime,
            subject,
            // The fence: whoever took the claim over has changed the receipt.
            Precondition::At(version),
            |cx| (self.complete)(&claim.call, &performed, cx),
            |(), receipt| {
                receipt.message_id = Some(message_id.to_owned());
                Ok(())
            },
        );
        match completed.await? {
            Sealed::Ours(receipt, _) | Sealed::Theirs(receipt @ Receipt { claim: None, .. }, _) => {
                fault::point("committed").await;
                runtime.relay(&receipt.events).await?;
                Ok(Outcome::Handled)
            }
            Sealed::Theirs(..) => Err(Failure::Retry("another delivery took the claim over".to_owned())),
        }
    }

    fn claim_for(&self, runtime: &Runtime, token: &str, call: String) -> Claim {
        let until = runtime.now().saturating_add(timing::LEASE).unwrap_or_default();
        Claim { token: token.to_owned(), until, call }
    }

    /// Waits until whoever holds the claim is done, or takes the claim over once its lease has run
    /// out. Not to wait would be a nack, and each of them burns a delivery attempt.
    async fn wait(
        &self,
        runtime: &Runtime,
        subject: &Subject,
        token: &str,
        mut receipt: Receipt,
        mut version: Version,
    ) -> Result<Claimed, Failure> {
        let path = receipt::path(subject.service, &subject.key);
        let store = &*runtime.ports().store;
        let mut poll = Duration::from_millis(50);
        loop {
            match &receipt.claim {
                None => return Ok(Claimed::Done(receipt)),
                // The answer to our own commit was lost.
                Some(claim) if claim.token == token => return Ok(Claimed::Ours(receipt, version)),
                Some(claim) if claim.until <= runtime.now() => {
                    receipt.claim = Some(self.claim_for(runtime, token, claim.call.clone()));
                    let write = receipt.write(&path, Precondition::At(version))?;
                    match commit(store, &[write]).await {
                        Ok(versions) => {
                            let version = versions.first().copied().unwrap_or(version);
                            return Ok(Claimed::Ours(receipt, version));
                        }
                        Err(CommitError::Conflict) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Some(_) => {
                    tokio::time::sleep(poll).await;
                    poll = (poll * 2).min(Duration::from_millis(500));
                }
            }
            let vanished = || Failure::Retry("the receipt vanished".to_owned());
            (receipt, version) = Receipt::read(store, &path).await?.ok_or_else(vanished)?;
        }
    }

    /// Lets the next delivery take the claim over at once. If this fails, it waits for the lease.
    async fn release(&self, runtime: &Runtime, subject: &Subject, mut receipt: Receipt, version: Version) {
        let path = receipt::path(subject.service, &subject.key);
        if let Some(claim) = &mut receipt.claim {
            claim.until = runtime.now();
        }
        if let Ok(write) = receipt.write(&path, Precondition::At(version)) {
            let released = runtime.ports().store.commit(&[write]).await;
            if let Err(error) = released {
                tracing::debug!(%error, "the claim stays until its lease runs out");
            }
        }
    }
}

enum Claimed {
    /// By us: we perform.
    Ours(Receipt, Version),
    /// By another, who has completed.
    Done(Receipt),
}
