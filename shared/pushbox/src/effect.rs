//! One call to the outside world, in three steps: claim, perform, complete.

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, Event, Failure, service::decode};

/// One call to the outside world for each event, such as a mail or a charge.
///
/// 1. [`claim`](Self::claim) decides in a transaction what to call for. Its call is committed as a
///    claim, which keeps other deliveries from making it.
/// 2. [`perform`](Self::perform) makes the call.
/// 3. [`complete`](Self::complete) records in a transaction what came of it.
///
/// Once `perform` has returned an outcome, the call is not made again: if `complete` fails, the
/// outcome is kept in the claim, and a later delivery completes. If the process dies, or is cut off
/// from the store, between the call and the record of it, another delivery takes the claim over when
/// its [lease](crate::timing::LEASE) has ended, and makes the very same call with the same
/// idempotency key. So each such failure adds one call at most.
pub trait Effect: Send + Sync + 'static {
    /// What it handles.
    type Event: Event;
    /// What to call for. It is stored in the claim, so it must fit into a document.
    type Call: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What came of the call. An unknown outcome, where a second call could do harm, is a value of
    /// this type, too.
    type Outcome: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Says what to call for, or `None` if there is nothing to call for. What it stages is committed
    /// together with the claim. It may publish only if it returns `None`.
    fn claim(
        &self,
        event: Self::Event,
        cx: Context,
    ) -> impl Future<Output = Result<Option<Self::Call>, Failure>> + Send;

    /// Makes the call, with an idempotency key that is the same on every attempt. It must end within
    /// [`CALL_DEADLINE`](crate::timing::CALL_DEADLINE). If it panics, or is cut off at
    /// [`CALL_CUT_OFF`](crate::timing::CALL_CUT_OFF), nobody knows the outcome, and the call is made
    /// again when the lease has ended.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the call was not made, or if a second one with the same key does no
    /// harm. [`Failure::Reject`] if the outside refuses this call for good: then
    /// [`abandon`](Self::abandon) runs, and the message becomes a dead letter.
    fn perform(
        &self,
        call: Self::Call,
        key: String,
    ) -> impl Future<Output = Result<Self::Outcome, Failure>> + Send;

    /// Records the outcome. What it publishes is relayed.
    fn complete(
        &self,
        call: Self::Call,
        outcome: Self::Outcome,
        cx: Context,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Takes back what `claim` has staged, after `perform` has rejected the call. The receipt is
    /// removed in the same commit, so a replay of the dead letter begins with `claim` again. If an
    /// earlier attempt may have made the call, this does not run: the claim keeps its key for a replay.
    fn abandon(&self, call: Self::Call, cx: Context) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// An effect with its types erased: calls and outcomes are JSON.
pub(crate) trait AnyEffect: Send + Sync {
    fn claim(&self, data: &[u8], cx: Context) -> BoxFuture<'_, Result<Option<String>, Failure>>;
    fn perform<'a>(&'a self, call: &'a str, key: &str) -> BoxFuture<'a, Result<String, Failure>>;
    fn complete<'a>(
        &'a self,
        call: &'a str,
        outcome: &'a str,
        cx: Context,
    ) -> BoxFuture<'a, Result<(), Failure>>;
    fn abandon<'a>(&'a self, call: &'a str, cx: Context) -> BoxFuture<'a, Result<(), Failure>>;
}

impl<E: Effect> AnyEffect for E {
    fn claim(&self, data: &[u8], cx: Context) -> BoxFuture<'_, Result<Option<String>, Failure>> {
        let event = decode::<E::Event>(data);
        async move {
            let call = Effect::claim(self, event?, cx).await?;
            Ok(call.map(|call| serde_json::to_string(&call)).transpose()?)
        }
        .boxed()
    }

    fn perform<'a>(&'a self, call: &'a str, key: &str) -> BoxFuture<'a, Result<String, Failure>> {
        let key = key.to_owned();
        async move {
            let outcome = Effect::perform(self, serde_json::from_str(call)?, key).await?;
            Ok(serde_json::to_string(&outcome)?)
        }
        .boxed()
    }

    fn complete<'a>(
        &'a self,
        call: &'a str,
        outcome: &'a str,
        cx: Context,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let (call, outcome) = (serde_json::from_str(call)?, serde_json::from_str(outcome)?);
            Effect::complete(self, call, outcome, cx).await
        }
        .boxed()
    }

    fn abandon<'a>(&'a self, call: &'a str, cx: Context) -> BoxFuture<'a, Result<(), Failure>> {
        async move { Effect::abandon(self, serde_json::from_str(call)?, cx).await }.boxed()
    }
}
