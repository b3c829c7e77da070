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
    /// The outside knows idempotency keys, as a payment gateway does.
    Harmless,
    /// It does not, as a mail server. A call is repeated only if nobody is left who knows of it.
    Harmful,
}

/// What a process reaches the outside world through.
#[derive(Clone)]
pub struct Outside {
    wire: Wire,
}

/// A call has no answer.
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

    /// A store for the fakes in `effects`: each commit is a call that arrives with the id of its
    /// document as the key.
    #[must_use]
    pub fn store(&self, repeats: Repeats) -> Arc<dyn Store> {
        Arc::new(OutsideStore { wire: self.wire.clone(), repeats })
    }

    /// Calls the outside, which does nothing but count.
    ///
    /// # Errors
    /// There is no answer.
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

/// The call has reached the outside.
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
        let (ended_at, was_answered) = (None, false);
        ledger.calls.push(Call { request, key, payload, repeats, at, ended_at, was_answered, was_recorded });
        let _ = arrived.set(ledger.calls.len() - 1);
    }
}

fn answered(shared: &Shared, arrived: &Arrived, was_answered: bool) {
    if let Some(&call) = arrived.get() {
        shared.ledger().calls[call].was_answered = was_answered;
    }
}

/// Notes when a process stops to wait for an answer, for whatever reason.
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
            _ => unreachable!("a fake keeps one document for each call"),
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

    /// A part of the call before it.
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.wire.shared.outside.get(path).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.wire.shared.outside.list(query).await
    }
}
