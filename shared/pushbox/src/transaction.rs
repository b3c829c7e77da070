//! Running a handler and committing what it staged, together with its receipt.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    Context, Failure, Path, Runtime,
    context::{Known, Subject},
    receipt::{self, Receipt},
    store::{CommitError, Precondition, Store, Version, Write},
};

/// How often a handler runs at most before a lost race is left to a later delivery.
const MAX_RUNS: u32 = 12;

/// How often a commit is sent at most whose answer does not come.
const MAX_SENDS: u32 = 3;

/// Whose receipt there is now for a key.
pub(crate) enum Sealed {
    /// This run's.
    Ours(Receipt, Version),
    /// Another delivery's; or this one's, if the answer to its commit was lost.
    Theirs(Receipt, Version),
}

/// Runs `run` and commits what it staged with a receipt that `seal` completes. The receipt's
/// precondition is `only_if`. Runs again when a document that it used was changed meanwhile.
pub(crate) async fn transact<T, E: From<Failure>, Fut: Future<Output = Result<T, E>>>(
    runtime: &Runtime,
    subject: &Subject,
    mut only_if: Precondition,
    run: impl Fn(Context) -> Fut,
    seal: impl Fn(T, &mut Receipt) -> Result<(), Failure>,
) -> Result<Sealed, E> {
    let path = receipt::path(subject.service, &subject.key);
    let store = &runtime.ports().store;
    let mut known = Known::default();
    for attempt in 0..MAX_RUNS {
        let now = runtime.now();
        let cx = Context::new(subject.clone(), store.clone(), now, std::mem::take(&mut known));
        let result = match run(cx.clone()).await {
            Ok(result) => result,
            // A handler may trip over what it did itself when the event came first: the events of
            // that time wait for their relay, and there is nothing to reject.
            Err(error) => return theirs(&**store, &path, only_if, now).await.ok_or(error),
        };
        let mut staged = cx.take()?;
        let mut receipt = Receipt::new(&subject.key, now);
        receipt.events = std::mem::take(&mut staged.events);
        seal(result, &mut receipt)?;

        // The receipt comes first: the first precondition that fails decides the error.
        let mut writes = vec![receipt.write(&path, only_if).map_err(Failure::from)?];
        writes.extend(staged.into_writes());
        match commit(&**store, &writes).await {
            Ok(versions) => {
                let version = versions.first().copied().ok_or_else(missing_version)?;
                return Ok(Sealed::Ours(receipt, version));
            }
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(Failure::from(error).into()),
        }
        match Receipt::read(&**store, &path).await.map_err(Failure::from)? {
            Some((theirs, version)) if only_if != Precondition::At(version) => {
                if theirs.expire_at > now {
                    return Ok(Sealed::Theirs(theirs, version));
                }
                // TTL deletes late: an expired receipt counts as none.
                only_if = Precondition::At(version);
            }
            _ => {}
        }
        known = Known::recheck(&**store, &writes[1..]).await.map_err(Failure::from)?;
        pause(attempt).await;
    }
    Err(Failure::Retry(format!("lost the race for a document {MAX_RUNS} times")).into())
}

/// The receipt that another run has left, if there is one and it can be read.
async fn theirs(store: &dyn Store, path: &Path, only_if: Precondition, now: Timestamp) -> Option<Sealed> {
    let (receipt, version) = Receipt::read(store, path).await.ok()??;
    let is_theirs = only_if != Precondition::At(version) && receipt.expire_at > now;
    is_theirs.then_some(Sealed::Theirs(receipt, version))
}

/// Commits. When the answer is lost, the same commit is sent again: its precondition tells whether
/// the first one took.
pub(crate) async fn commit(store: &dyn Store, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
    let mut sends = 1;
    loop {
        match store.commit(writes).await {
            Err(CommitError::Unknown(_)) if sends < MAX_SENDS => pause(sends).await,
            done => return done,
        }
        sends += 1;
    }
}

/// Waits a random time that grows with each attempt, so that those who met once do not meet again.
async fn pause(attempt: u32) {
    let longest = (10 << attempt.min(7)) as u64;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..longest))).await;
}

fn missing_version() -> Failure {
    Failure::Retry("the store gave no version".to_owned())
}
