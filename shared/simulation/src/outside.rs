//! The outside world: it counts every call that reaches it.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use pushbox::{
    Path,
    store::{Change, CommitError, Fields, Query, Store, StoreError, Stored, Version, Write},
};

use crate::{
    faults::Step,
    ledger::Call,
    wire::{Shared, Trouble, Wire, commit_error, request},
};

/// Whether a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// The outside supports idempotency keys, as a payment gateway does.
    Harmless,
    /// The outside does not support them, like a mail server. A call is repeated only if no process
    /// knows of it any more.
    Harmful,
}

/// A process's connection to the outside world.
#[derive(Clone)]
pub struct Outside {
    wire: Wire,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It never reached the outside.
    NotReached,
    /// It may have reached it.
    Unknown,
}

impl Outside {
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire }
    }

    /// A store for the fakes in `effects`. Each commit is a call, with the id of its document as
    /// the idempotency key.
    #[must_use]
    pub fn store(&self, repeats: Repeats) -> Arc<dyn Store> {
        Arc::new(OutsideStore { wire: self.wire.clone(), repeats })
    }

    /// Calls the outside, which only counts the call.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn call(&self, repeats: Repeats, key: &str, payload: Fields) -> Result<(), NoAnswer> {
        let trouble = |trouble| match trouble {
            Trouble::NotApplied | Trouble::Refused => Err(NoAnswer::NotReached),
            Trouble::Unknown => Err(NoAnswer::Unknown),
        };
        let arrived = Arrived::default();
        let reach = reach(self.wire.shared.clone(), arrived.clone(), repeats, key.to_owned(), payload);
        let _waiting = Waiting { shared: &self.wire.shared, arrived: arrived.clone() };
        let call = async move {
            reach.await;
            Ok(())
        };
        let answer = self.wire.io(Step::Call, || format!("call {key}"), call, trouble).await;
        answered(&self.wire.shared, &arrived, answer.is_ok());
        answer
    }
}

/// The number of a call, once it has arrived.
type Arrived = Arc<OnceLock<usize>>;

/// Records a call when it reaches the outside.
fn reach(
    shared: Arc<Shared>,
    arrived: Arrived,
    repeats: Repeats,
    key: String,
    payload: Fields,
) -> impl Future<Output = ()> + Send + 'static {
    let request = request();
    async move {
        let at = shared.now();
        let ledger = &mut *shared.ledger();
        let was_recorded = request.is_some_and(|id| {
            let request = &ledger.requests[id];
            request.event.as_ref().is_some_and(|event| ledger.has_handled(&request.service, event))
        });
        let refused_before = request.map_or(0, |id| {
            let request = &ledger.requests[id];
            request.event.as_ref().map_or(0, |event| ledger.times_refused(&request.service, event))
        });
        let (ended_at, was_answered) = (None, false);
        let call =
            Call { request, key, payload, repeats, at, ended_at, was_answered, was_recorded, refused_before };
        ledger.calls.push(call);
        let _ = arrived.set(ledger.calls.len() - 1);
    }
}

fn answered(shared: &Shared, arrived: &Arrived, was_answered: bool) {
    if let Some(&call) = arrived.get() {
        shared.ledger().calls[call].was_answered = was_answered;
    }
}

/// Records when a process stops waiting for an answer, for whatever reason.
struct Waiting<'a> {
    shared: &'a Shared,
    arrived: Arrived,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(&call) = self.arrived.get() {
            let now = self.shared.now();
            self.shared.ledger().calls[call].ended_at = Some(now);
        }
    }
}

struct OutsideStore {
    wire: Wire,
    repeats: Repeats,
}

#[async_trait]
impl Store for OutsideStore {
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        let shared = self.wire.shared.clone();
        let (key, payload) = match writes {
            [Write { path, change: Change::Set(fields), .. }] => (path.id().to_owned(), fields.clone()),
            _ => unreachable!("a fake writes one document for each call"),
        };
        let what = format!("call {key}");
        let arrived = Arrived::default();
        let _waiting = Waiting { shared: &self.wire.shared, arrived: arrived.clone() };
        let reached = reach(shared.clone(), arrived.clone(), self.repeats, key, payload);
        let writes = writes.to_vec();
        let call = async move {
            reached.await;
            shared.outside.commit(&writes).await
        };
        let answer =
            self.wire.io(Step::Call, || what.clone(), call, |trouble| Err(commit_error(trouble))).await;
        let was_answered = !matches!(answer, Err(CommitError::Unknown(_)));
        answered(&self.wire.shared, &arrived, was_answered);
        answer
    }

    /// Part of the previous call, and not a step.
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.wire.shared.outside.get(path).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.wire.shared.outside.list(query).await
    }
}
