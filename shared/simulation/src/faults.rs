//! What goes wrong between a service and its ports.

use std::{
    future::pending,
    ops::AddAssign,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use fastrand::Rng;
use pushbox::{
    Message, Path,
    publisher::{PublishError, Publisher},
    store::{CommitError, Memory, Query, Store, StoreError, Stored, Version, Write},
};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// How often what went wrong.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Processes that died.
    pub crashes: u64,
    /// Calls that failed without effect.
    pub failures: u64,
    /// Calls that took effect, but whose answer got lost.
    pub lost_answers: u64,
    /// Messages that were delivered again although they had been acked.
    pub lost_acks: u64,
    /// Messages that were delivered twice from the start.
    pub duplicates: u64,
    /// Deliveries in all.
    pub deliveries: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes.add_assign(other.crashes);
        self.failures.add_assign(other.failures);
        self.lost_answers.add_assign(other.lost_answers);
        self.lost_acks.add_assign(other.lost_acks);
        self.duplicates.add_assign(other.duplicates);
        self.deliveries.add_assign(other.deliveries);
    }
}

/// Chance: the only source of it in a world.
#[derive(Clone)]
pub(crate) struct Chance(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    /// While false, nothing goes wrong.
    chaos: bool,
    counts: Counts,
    history: Vec<String>,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let state =
            State { rng: Rng::with_seed(seed), chaos: true, counts: Counts::default(), history: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once in `n` times, as long as there is chaos.
    pub(crate) fn once_in(&self, n: u32) -> bool {
        let mut state = self.state();
        state.chaos && state.rng.u32(0..n) == 0
    }

    pub(crate) fn pick(&self, n: usize) -> usize {
        self.state().rng.usize(0..n)
    }

    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        Duration::from_micros(self.state().rng.u64(0..=longest.as_micros() as u64))
    }

    pub(crate) fn end_chaos(&self) {
        self.state().chaos = false;
    }

    pub(crate) fn note(&self, step: String, count: fn(&mut Counts)) {
        let mut state = self.state();
        count(&mut state.counts);
        state.history.push(step);
    }

    pub(crate) fn history(&self) -> (Counts, Vec<String>) {
        let state = self.state();
        (state.counts.clone(), state.history.clone())
    }
}

/// What a process reaches the world through. Once it is dead, nothing gets through any more.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) process: String,
    pub(crate) chance: Chance,
    pub(crate) dead: CancellationToken,
    pub(crate) store: Arc<Memory>,
    pub(crate) broker: Broker,
}

#[derive(PartialEq)]
enum Fault {
    Failure,
    LostAnswer,
}

impl Wire {
    /// Carries out one call, or lets it go wrong.
    async fn call<T>(&self, what: String, call: impl Future<Output = T>, lost: fn() -> T) -> T {
        let chance = &self.chance;
        self.step().await;
        if self.fault(&what, 15, Fault::Failure) {
            return lost();
        }
        self.die(&what, "before").await;
        let result = call.await;
        chance.note(format!("{}: {what}", self.process), |_| ());
        self.die(&what, "after").await;
        self.step().await;
        if self.fault(&what, 15, Fault::LostAnswer) { lost() } else { result }
    }

    /// Takes some time, for ever if the process is dead.
    async fn step(&self) {
        tokio::time::sleep(self.chance.up_to(Duration::from_millis(40))).await;
        if self.dead.is_cancelled() {
            pending::<()>().await;
        }
    }

    async fn die(&self, what: &str, when: &str) {
        if self.chance.once_in(40) {
            self.chance.note(format!("{}: dies {when} {what}", self.process), |counts| counts.crashes += 1);
            self.dead.cancel();
            pending::<()>().await;
        }
    }

    fn fault(&self, what: &str, once_in: u32, fault: Fault) -> bool {
        let happens = self.chance.once_in(once_in);
        if happens && fault == Fault::Failure {
            self.chance.note(format!("{}: {what} fails", self.process), |counts| counts.failures += 1);
        } else if happens {
            let step = format!("{}: the answer to {what} is lost", self.process);
            self.chance.note(step, |counts| counts.lost_answers += 1);
        }
        happens
    }
}

fn no_answer() -> StoreError {
    StoreError("no answer".to_owned())
}

#[async_trait]
impl Store for Wire {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.call(format!("get {path}"), self.store.get(path), || Err(no_answer())).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        let paths: Vec<String> = writes.iter().map(|write| write.path.to_string()).collect();
        let lost = || Err(CommitError::Unknown(no_answer()));
        self.call(format!("commit {}", paths.join(", ")), self.store.commit(writes), lost).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.call(format!("list {}", query.collection), self.store.list(query), || Err(no_answer())).await
    }
}

#[async_trait]
impl Publisher for Wire {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let lost = || Err(PublishError { topic: String::new(), reason: "no answer".to_owned() });
        let what = format!("publish to {}", message.topic);
        self.call(what, async { Ok(self.broker.accept(message)) }, lost).await
    }
}
