//! A store with faults.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pushbox::{
    Path,
    store::{Change, CommitError, Precondition, Query, Store, StoreError, Stored, Version, Write},
};

/// A store that forwards each call to another store, counts it, and injects faults.
pub struct Faulty {
    pub inner: Arc<dyn Store>,
    faults: Mutex<VecDeque<Fault>>,
    always: Mutex<Option<Fault>>,
    reads_fail: AtomicBool,
    commits: AtomicUsize,
    reads: AtomicUsize,
    pauses: AtomicUsize,
}

/// The fault of one commit.
#[derive(Clone, Debug)]
pub enum Fault {
    /// No fault. It lets a commit pass before one with a fault.
    None,
    /// Another process commits these writes just before.
    Overtaken(Vec<Write>),
    /// The commit is not applied, and no answer says so.
    Lost,
    /// The commit is applied, and the answer is lost.
    AnswerLost,
    /// The commit is applied, and the call never returns.
    AnswerHangs,
    /// The answer is lost, and the commit is applied after this time.
    Late(Duration),
    /// The commit takes this long.
    Slow(Duration),
    /// The commit is refused, as if a document had changed.
    Conflict,
    /// The commit is refused for good.
    Refused,
    /// The commit is not applied, and the store says so.
    Failed,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            faults: Mutex::default(),
            always: Mutex::default(),
            reads_fail: AtomicBool::default(),
            commits: AtomicUsize::default(),
            reads: AtomicUsize::default(),
            pauses: AtomicUsize::default(),
        }
    }

    /// Injects these faults into the next commits, one each.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().expect("a lock").extend(faults);
    }

    /// Injects this fault into every commit from now on. [`next`](Self::next) takes precedence.
    pub fn always(&self, fault: Fault) {
        *self.always.lock().expect("a lock") = Some(fault);
    }

    /// Sets whether reads fail from now on.
    pub fn fail_reads(&self, fail: bool) {
        self.reads_fail.store(fail, Ordering::SeqCst);
    }

    /// The numbers of commits and reads since the last `take_calls`.
    pub fn take_calls(&self) -> (usize, usize) {
        (self.commits.swap(0, Ordering::SeqCst), self.reads.swap(0, Ordering::SeqCst))
    }

    /// Lets other tasks run in between, as a remote store does.
    async fn pause(&self) {
        // The number differs between calls, so that tasks overtake each other. It is the same in every run.
        for _ in 0..self.pauses.fetch_add(1, Ordering::SeqCst) % 3 {
            tokio::task::yield_now().await;
        }
    }

    async fn read(&self) -> Result<(), StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.pause().await;
        if self.reads_fail.load(Ordering::SeqCst) { Err(injected_error()) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.read().await?;
        let found = self.inner.get(path).await;
        self.pause().await;
        found
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        // Firestore creates a document for such a write.
        let is_void =
            |write: &Write| matches!(write.change, Change::Verify) && write.only_if == Precondition::None;
        assert!(!writes.iter().any(is_void), "a write without a change and a condition: {writes:?}");
        self.pause().await;
        let next = self.faults.lock().expect("a lock").pop_front();
        let fault = next.or_else(|| self.always.lock().expect("a lock").clone()).unwrap_or(Fault::None);
        match fault {
            Fault::None => {}
            Fault::Overtaken(others) => {
                self.inner.commit(&others).await.expect("a commit");
            }
            Fault::Lost => return Err(CommitError::Unknown(injected_error())),
            Fault::AnswerLost => {
                // The answer is lost, even if it is a refusal.
                let _ = self.inner.commit(writes).await;
                return Err(CommitError::Unknown(injected_error()));
            }
            Fault::AnswerHangs => {
                let _ = self.inner.commit(writes).await;
                return std::future::pending().await;
            }
            Fault::Late(pause) => {
                let (inner, writes) = (self.inner.clone(), writes.to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    // The store may refuse it by then.
                    let _ = inner.commit(&writes).await;
                });
                return Err(CommitError::Unknown(injected_error()));
            }
            Fault::Slow(pause) => tokio::time::sleep(pause).await,
            Fault::Conflict => return Err(CommitError::Conflict),
            Fault::Refused => return Err(CommitError::Refused("injected".to_owned())),
            Fault::Failed => return Err(CommitError::Failed(injected_error())),
        }
        let done = self.inner.commit(writes).await;
        self.pause().await;
        done
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.read().await?;
        self.inner.list(query).await
    }
}

fn injected_error() -> StoreError {
    StoreError("injected".to_owned())
}
