//! What the local fakes have in common: the first call with a key is kept, a repeat finds it.

use pushbox::{
    Failure, Path, reject,
    store::{Change, CommitError, Precondition, Store, StoreError, Write},
};
use serde::{Serialize, de::DeserializeOwned};

/// Why there is no document to return.
pub(crate) enum NotKept {
    /// The store did not say whether it has kept it.
    Unknown(StoreError),
    /// It has not.
    Failed(Failure),
}

impl From<Failure> for NotKept {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// With an idempotency key to try again is safe: the next attempt finds what is kept.
impl From<NotKept> for Failure {
    fn from(not_kept: NotKept) -> Self {
        match not_kept {
            NotKept::Unknown(error) => error.into(),
            NotKept::Failed(failure) => failure,
        }
    }
}

/// Creates the document at `path`, unless there is one. Returns the one that is there now.
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
            // Without serde's words: they repeat values.
            let unreadable = |_| Failure::Retry(format!("{path} holds something else")).into();
            serde_json::from_value(kept.fields.into()).map_err(unreadable)
        }
        Err(CommitError::Refused(error)) => Err(reject(error).into()),
        Err(CommitError::Failed(error)) => Err(NotKept::Failed(error.into())),
        Err(CommitError::Unknown(error)) => Err(NotKept::Unknown(error)),
    }
}
