//! Effects: one call to the outside world, in three steps.

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, Event, Failure, service::decode};

/// One call to the outside world for each event, such as a mail or a charge.
///
/// 1. [`claim`](Self::claim) runs in a transaction and decides on the call. The call is committed as a
///    claim, which keeps other deliveries from making it.
/// 2. [`perform`](Self::perform) makes the call.
/// 3. [`complete`](Self::complete) runs in a transaction and records the outcome.
///
/// As long as the receipt exists, a call with an outcome is not repeated: if `complete` fails, the claim keeps the
/// outcome, and a later delivery completes. A refused call is repeated only by a replay, which is a dead letter that a
/// person publishes again. There are three exceptions:
/// - The process dies before it has stored the outcome or the refusal, or it cannot reach the store until the
///   [lease](crate::Timing::lease) has ended.
/// - The process stalls between the claim and the call until the lease has ended.
/// - The store does not accept the outcome or the refusal, for example because it is too large for a document.
///
/// Another delivery then takes the claim over and makes the same call with the same idempotency key. Each such
/// failure adds at most one call.
///
/// What a duplicate does depends on the receipt:
/// - If there is none, because `claim` has rejected the event, `claim` runs again.
/// - If the event is handled, the duplicate publishes the events once more and answers 204.
/// - If another delivery holds the claim, the duplicate waits for the outcome, at most
///   [`Timing::claim`](crate::Timing::claim), and then answers 503.
/// - If the claim keeps an outcome, the duplicate completes.
/// - If the lease has ended, or the call has ended with [`Failure::Retry`], the duplicate takes the claim over.
/// - If the call was refused, the duplicate becomes another dead letter with the same reason. A replay makes the
///   call again.
pub trait Effect: Send + Sync + 'static {
    /// The event that it handles.
    type Event: Event;
    /// The environment variables that hold the secrets of the call, such as the key of a payment provider. It is
    /// empty if the call needs none.
    const SECRETS: &'static [&'static str];
    /// The call. The claim stores it, so it must fit into a document.
    type Call: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The outcome of the call. If a second call could do harm, this type has a value for an unknown outcome,
    /// which `perform` returns instead of [`Failure::Retry`].
    type Outcome: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Returns the call, or `None` if no call is needed. Its staged writes are committed together with the
    /// claim. It may publish only if it returns `None`.
    fn claim(
        &self,
        event: Self::Event,
        cx: Context,
    ) -> impl Future<Output = Result<Option<Self::Call>, Failure>> + Send;

    /// Makes the call. Every attempt at a call has the same idempotency key. `perform` must end within
    /// [`Timing::call`](crate::Timing::call). If it panics, or does not end within
    /// [`Timing::call_cut_off`](crate::Timing::call_cut_off), the outcome is unknown, and the call is
    /// repeated after the lease.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the call was not made, or if a second call with the same key does no harm.
    /// [`Failure::Reject`] if the outside refuses the call for good. Then [`abandon`](Self::abandon) runs,
    /// and the message becomes a dead letter.
    fn perform(
        &self,
        call: Self::Call,
        key: String,
    ) -> impl Future<Output = Result<Self::Outcome, Failure>> + Send;

    /// Records the outcome, and may publish events.
    fn complete(
        &self,
        call: Self::Call,
        outcome: Self::Outcome,
        cx: Context,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Undoes or marks the writes of `claim` after `perform` has rejected the call. It must not publish. The commit
    /// of `abandon` also ends the claim. A replay starts again at `claim`, with another idempotency key.
    ///
    /// `abandon` is not called if an earlier attempt may have made the call. The claim then stays and keeps
    /// its idempotency key for a replay.
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
