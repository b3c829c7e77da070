//! What the local fakes have in common: the first call with a key is kept, a repeat finds it.

use pushbox::{
    Failure, Path, reject,
    store::{Change, CommitError, Precondition, Store, Write},
};
use serde::{Serialize, de::DeserializeOwned};

/// Creates the document at `path`, unless there is one. Returns the one that is there now.
pub(crate) async fn keep_first<T>(store: &dyn Store, path: Path, document: T) -> Result<T, Failure>
where
    T: Serialize + DeserializeOwned,
{
    let serde_json::Value::Object(fields) = serde_json::to_value(&document)? else {
        return Err(reject("only an object can be a document"));
    };
    let write = Write { path: path.clone(), change: Change::Set(fields), only_if: Precondition::Absent };
    match store.commit(&[write]).await {
        Ok(_) => Ok(document),
        Err(CommitError::Conflict) => {
            let kept = store.get(&path).await?;
            let kept = kept.ok_or_else(|| Failure::Retry(format!("{path} vanished")))?;
            // Without serde's words: they repeat values.
            let unreadable = |_| Failure::Retry(format!("{path} holds something else"));
            serde_json::from_value(kept.fields.into()).map_err(unreadable)
        }
        Err(CommitError::Refused(error)) => Err(reject(error)),
        // It may have been kept; the next attempt finds it then.
        Err(error @ CommitError::Unknown(_)) => Err(error.into()),
    }
}
