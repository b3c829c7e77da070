//! The rule that both local fakes follow: they keep the first call with a key, and a repeat finds it.

use pushbox::{
    Failure, Path, reject,
    store::{Change, CommitError, Precondition, Store, StoreError, Write},
};
use serde::{Serialize, de::DeserializeOwned};

/// Why there is no document to return.
pub(crate) enum NotKept {
    /// The store gave no answer: it may have kept the document.
    Unknown(StoreError),
    /// The store has not kept the document.
    Failed(Failure),
}

impl From<Failure> for NotKept {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A retry is safe for calls that have an idempotency key: the next attempt finds the kept document.
impl From<NotKept> for Failure {
    fn from(not_kept: NotKept) -> Self {
        match not_kept {
            NotKept::Unknown(error) => error.into(),
            NotKept::Failed(failure) => failure,
        }
    }
}

/// Creates the document at `path` unless one exists. Returns the document that is there afterwards.
pub(crate) async fn keep_first<T>(store: &dyn Store, path: Path, document: T) -> Result<T, NotKept>
where
    T: Serialize + DeserializeOwned,
{
    let serde_json::Value::Object(fields) = serde_json::to_value(&document).map_err(Failure::from)? else {
        return Err(reject("only an object can be a document").into());
    };
    let write = Write { path: path.clone(), change: Change::Set(fields), only_if: Precondition::Absent };
    match store.commit(&[write]).await {
        Ok(_) => Ok(document),
        Err(CommitError::Conflict) => {
            let kept = store.get(&path).await.map_err(Failure::from)?;
            let kept = kept.ok_or_else(|| Failure::Retry(format!("{path} vanished")))?;
            // The text of serde's error is left out, because it repeats values.
            let unreadable = |_| Failure::Retry(format!("{path} holds something else")).into();
            serde_json::from_value(kept.fields.into()).map_err(unreadable)
        }
        Err(CommitError::Refused(error)) => Err(reject(error).into()),
        Err(CommitError::Failed(error)) => Err(NotKept::Failed(error.into())),
        Err(CommitError::Unknown(error)) => Err(NotKept::Unknown(error)),
    }
}
