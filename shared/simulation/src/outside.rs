//! The outside world: it counts every call that reaches it.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use pushbox::{
    Path,
    store::{Change, CommitError, Fields, Query, Store, StoreError, Stored, Version, Write},
};

use crate::{
    faults::Step,
    ledger::{Call, RequestId},
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
        let asked = Asked { kind: String::new(), key: key.to_owned(), payload };
        let mut waiting = Waiting::new(&self.wire.shared, arrived.clone(), key);
        let reach = reach(self.wire.shared.clone(), arrived, waiting.request, repeats, asked);
        let call = async move {
            reach.await;
            Ok(())
        };
        let answer = self.wire.io(Step::Call, || format!("call {key}"), call, trouble).await;
        waiting.was_answered = answer.is_ok();
        answer
    }

    /// How many calls with this payload have arrived.
    #[must_use]
    pub fn times_called(&self, payload: &Fields) -> usize {
        self.wire.shared.ledger().calls.iter().filter(|call| call.payload == *payload).count()
    }
}

/// The number of a call, once it has arrived.
type Arrived = Arc<OnceLock<usize>>;

struct Asked {
    kind: String,
    key: String,
    payload: Fields,
}

/// Records a call when it reaches the outside.
async fn reach(
    shared: Arc<Shared>,
    arrived: Arrived,
    request: Option<RequestId>,
    repeats: Repeats,
    Asked { kind, key, payload }: Asked,
) {
    let at = shared.now();
    let ledger = &mut *shared.ledger();
    let was_recorded = request.is_some_and(|id| {
        let request = &ledger.requests[id];
        request.event().is_some_and(|event| ledger.has_handled(&request.service, event))
    });
    let refused_before = request.map_or(0, |id| {
        let request = &ledger.requests[id];
        request.event().map_or(0, |event| ledger.times_refused(&request.service, event))
    });
    let (ended_at, was_answered) = (None, false);
    ledger.calls.push(Call {
        request,
        kind,
        key,
        payload,
        repeats,
        at,
        ended_at,
        was_answered,
        was_recorded,
        refused_before,
    });
    let _ = arrived.set(ledger.calls.len() - 1);
}

/// Records when a process stops waiting for an answer, for whatever reason.
struct Waiting<'a> {
    shared: &'a Shared,
    arrived: Arrived,
    request: Option<RequestId>,
    was_answered: bool,
}

impl<'a> Waiting<'a> {
    /// A delivery whose caller has hung up goes on in the background. Its request is that of its call before.
    fn new(shared: &'a Shared, arrived: Arrived, key: &str) -> Self {
        let before = || shared.ledger().calls.iter().rev().find(|call| call.key == key)?.request;
        let request = request().or_else(before);
        shared.ledger().calls_soon(request, shared.now());
        Self { shared, arrived, request, was_answered: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.shared.now();
        let ledger = &mut *self.shared.ledger();
        if let Some(&call) = self.arrived.get() {
            let call = &mut ledger.calls[call];
            (call.ended_at, call.was_answered) = (Some(now), self.was_answered);
        }
        if let (Some(request), false) = (self.request, self.was_answered) {
            ledger.requests[request].lacks_an_answer = true;
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
        shared.ledger().outside_paths.extend(writes.iter().map(|write| write.path.clone()));
        let asked = match writes {
            [Write { path, change: Change::Set(fields), .. }] => Asked {
                kind: path.collection().to_owned(),
                key: path.id().to_owned(),
                payload: fields.clone(),
            },
            // A fake counts its calls. This is part of the call before, and not a step.
            [Write { change: Change::Add { .. }, .. }] => return shared.outside.commit(writes).await,
            _ => unreachable!("a fake writes one document for each call"),
        };
        let what = format!("call {}", asked.key);
        let arrived = Arrived::default();
        let mut waiting = Waiting::new(&self.wire.shared, arrived.clone(), &asked.key);
        let reached = reach(shared.clone(), arrived, waiting.request, self.repeats, asked);
        let writes = writes.to_vec();
        let call = async move {
            reached.await;
            shared.outside.commit(&writes).await
        };
        let answer =
            self.wire.io(Step::Call, || what.clone(), call, |trouble| Err(commit_error(trouble))).await;
        waiting.was_answered = !matches!(answer, Err(CommitError::Unknown(_) | CommitError::Failed(_)));
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
