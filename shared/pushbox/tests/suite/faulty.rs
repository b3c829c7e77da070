//! A store that misbehaves when told to.

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
    store::{CommitError, Query, Store, StoreError, Stored, Version, Write},
};

/// A store that passes on what it is asked, counts it, and misbehaves when told to.
pub struct Faulty {
    pub inner: Arc<dyn Store>,
    faults: Mutex<VecDeque<Fault>>,
    always: Mutex<Option<Fault>>,
    reads_fail: AtomicBool,
    commits: AtomicUsize,
    reads: AtomicUsize,
    trips: AtomicUsize,
}

/// What happens to a commit.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: for one that comes before another.
    None,
    /// Somebody else commits this just before.
    Outrun(Vec<Write>),
    /// It does not get through.
    Lost,
    /// It is applied, but the answer does not get through.
    AnswerLost,
    /// It is applied, and the answer never comes.
    AnswerHangs,
    /// No answer comes, and it is applied only so much later.
    Late(Duration),
    /// It takes so long.
    Slow(Duration),
    /// It is refused as if a document had been changed.
    Conflict,
    /// It is refused for good.
    Refused,
    /// It is not applied, and the store says so.
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
            trips: AtomicUsize::default(),
        }
    }

    /// The next commits go like this.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().expect("a lock").extend(faults);
    }

    /// From now on every commit goes like this, unless [`next`](Self::next) says otherwise.
    pub fn all(&self, fault: Fault) {
        *self.always.lock().expect("a lock") = Some(fault);
    }

    /// Whether reads fail from now on.
    pub fn reads_fail(&self, fail: bool) {
        self.reads_fail.store(fail, Ordering::SeqCst);
    }

    /// How many commits and how many reads there were since this was last asked.
    pub fn calls(&self) -> (usize, usize) {
        (self.commits.swap(0, Ordering::SeqCst), self.reads.swap(0, Ordering::SeqCst))
    }

    /// Others get a chance to come in between, as with a store that is far away.
    async fn travel(&self) {
        // Not the same for all, so that they overtake each other; the same in every run.
        for _ in 0..self.trips.fetch_add(1, Ordering::SeqCst) % 3 {
            tokio::task::yield_now().await;
        }
    }

    async fn read(&self) -> Result<(), StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.travel().await;
        if self.reads_fail.load(Ordering::SeqCst) { Err(told_to()) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.read().await?;
        let found = self.inner.get(path).await;
        self.travel().await;
        found
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.travel().await;
        let next = self.faults.lock().expect("a lock").pop_front();
        let fault = next.or_else(|| self.always.lock().expect("a lock").clone()).unwrap_or(Fault::None);
        match fault {
            Fault::None => {}
            Fault::Outrun(others) => {
                self.inner.commit(&others).await.expect("the other's commit");
            }
            Fault::Lost => return Err(CommitError::Unknown(told_to())),
            Fault::AnswerLost => {
                // A refusal that is lost is no different from a commit that is.
                let _ = self.inner.commit(writes).await;
                return Err(CommitError::Unknown(told_to()));
            }
            Fault::AnswerHangs => {
                let _ = self.inner.commit(writes).await;
                return std::future::pending().await;
            }
            Fault::Late(pause) => {
                let (inner, writes) = (self.inner.clone(), writes.to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    // It may be refused by then.
                    let _ = inner.commit(&writes).await;
                });
                return Err(CommitError::Unknown(told_to()));
            }
            Fault::Slow(pause) => tokio::time::sleep(pause).await,
            Fault::Conflict => return Err(CommitError::Conflict),
            Fault::Refused => return Err(CommitError::Refused("told to".to_owned())),
            Fault::Failed => return Err(CommitError::Failed(told_to())),
        }
        let done = self.inner.commit(writes).await;
        self.travel().await;
        done
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.read().await?;
        self.inner.list(query).await
    }
}

fn told_to() -> StoreError {
    StoreError("told to".to_owned())
}
