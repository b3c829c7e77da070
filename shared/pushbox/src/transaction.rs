//! Transactions: a handler runs, and its staged writes are committed together with its receipt.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    Context, Failure, Runtime,
    context::{Known, Subject},
    failure::Refusal,
    message::Outbox,
    receipt::{self, About, Found, Receipt, State},
    reject,
    store::{Change, CommitError, Precondition, Store, StoreError, Version, Write},
};

/// The most runs of a handler. After that, a later delivery handles the event.
const MAX_RUNS: u32 = 12;

/// The most times that a commit is sent, if it fails or its answer is lost.
const MAX_SENDS: u32 = 3;

/// The receipt that a key has after a transaction.
pub(crate) enum Sealed {
    /// This run's receipt, with its version.
    Ours(Receipt, Version),
    /// The receipt that existed before: another delivery's, or this delivery's if the answer to its commit
    /// was lost.
    Existing(Found),
}

/// Runs `run` and commits its staged writes together with a receipt in the state that `seal` returns. The
/// receipt's precondition is `only_if`. Runs it again if another transaction has changed a document that it
/// used.
pub(crate) async fn transact<T, E: Refusal, Fut: Future<Output = Result<T, E>>>(
    runtime: &Runtime,
    subject: &Arc<Subject>,
    mut only_if: Precondition,
    run: impl Fn(Context) -> Fut,
    seal: impl Fn(T, Outbox) -> Result<State, Failure>,
) -> Result<Sealed, E> {
    let path = receipt::path(subject.service, &subject.key);
    let store = &runtime.ports().store;
    let nonce = runtime.ports().random.nonce();
    // The first step of a key creates its receipt. It may replace one that is void.
    let is_first_step = only_if == Precondition::Absent;
    let is_existing = |found: &Found, only_if: Precondition| {
        let is_void = is_first_step && found.receipt.is_void(subject, runtime.now());
        only_if != Precondition::At(found.version) && !is_void
    };
    let existing = async |only_if| {
        let found = Receipt::read(&**store, &path).await?;
        Ok::<_, StoreError>(found.filter(|found| is_existing(found, only_if)))
    };
    let mut known = Known::default();
    for attempt in 0..MAX_RUNS {
        let now = runtime.now();
        let horizon = now.saturating_add(runtime.timing().timer_horizon).unwrap_or(Timestamp::MAX);
        let known_so_far = std::mem::take(&mut known);
        let cx = Context::new(subject.clone(), nonce.clone(), store.clone(), now, horizon, known_so_far);
        let ran = run(cx.clone()).await;
        let mut staged = cx.take();
        let sealed = match staged.mistake.take() {
            Some(mistake) => Err(Failure::Retry(mistake).into()),
            None => ran.and_then(|result| Ok(seal(result, std::mem::take(&mut staged.outbox))?)),
        };
        let (end, writes) = match sealed {
            Ok(state) => {
                let message_id = subject.message_id.as_deref();
                let about = About::new(&subject.key, message_id, now, runtime.timing().receipt_retention);
                let receipt = Receipt { about, state };
                let change = receipt.to_change().map_err(Failure::from)?;
                // The receipt comes first: `writes[1..]` below are the handler's.
                let mut writes = vec![Write { path: path.clone(), change, only_if }];
                writes.extend(staged.into_writes());
                (Ok(receipt), writes)
            }
            Err(error) => {
                // The handler may have failed because an earlier delivery of this event succeeded. Then
                // its events may still wait for their relay, and there is nothing to reject.
                match existing(only_if).await {
                    Ok(Some(found)) => return Ok(Sealed::Existing(found)),
                    Err(unknown) if error.is_final() => return Err(Failure::from(unknown).into()),
                    Ok(None) | Err(_) => {}
                }
                let mut writes = staged.into_verification();
                if writes.is_empty() || !error.is_final() {
                    return Err(error);
                }
                writes.insert(0, Write { path: path.clone(), change: Change::Verify, only_if });
                (Err(error), writes)
            }
        };
        match commit(&**store, &writes).await {
            Ok(versions) => {
                let version = versions.first().copied().ok_or_else(missing_version)?;
                return end.map(|receipt| Sealed::Ours(receipt, version));
            }
            Err(CommitError::Conflict) => {}
            // The store may refuse the writes because an earlier delivery succeeded: for example, a document
            // grows with each run. Look for the earlier delivery's receipt before rejecting.
            Err(error @ CommitError::Refused(_)) => {
                let existing = existing(only_if).await.map_err(Failure::from)?;
                return existing.map(Sealed::Existing).ok_or_else(|| reject(error).into());
            }
            Err(error) => return Err(Failure::from(error).into()),
        }
        match Receipt::read(&**store, &path).await.map_err(Failure::from)? {
            Some(found) if is_existing(&found, only_if) => return Ok(Sealed::Existing(found)),
            Some(found) if is_first_step => only_if = Precondition::At(found.version),
            None if is_first_step => only_if = Precondition::Absent,
            Some(_) | None => {}
        }
        known = Known::recheck(&**store, &writes[1..]).await.map_err(Failure::from)?;
        pause(attempt).await;
    }
    Err(Failure::Retry(format!("lost the race for a document {MAX_RUNS} times")).into())
}

/// Commits. If the commit fails or its answer is lost, it is sent again. The preconditions tell whether the
/// first one was applied.
pub(crate) async fn commit(store: &dyn Store, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
    let mut sends = 1;
    loop {
        match store.commit(writes).await {
            Err(CommitError::Failed(_) | CommitError::Unknown(_)) if sends < MAX_SENDS => pause(sends).await,
            done => return done,
        }
        sends += 1;
    }
}

/// Waits for a random time that grows with each attempt, so that two transactions that conflicted once do
/// not conflict again.
pub(crate) async fn pause(attempt: u32) {
    let longest = (10 << attempt.min(7)) as u64;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..longest))).await;
}

pub(crate) fn missing_version() -> Failure {
    Failure::Retry("the store gave no version".to_owned())
}
