//! The port to the database, and its adapters.

#[doc(hidden)]
pub mod contract;
#[cfg(feature = "firestore")]
mod firestore;
mod limits;
mod memory;

#[cfg(feature = "firestore")]
pub use firestore::Firestore;
pub use memory::{Memory, Used};

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::Path;

/// A document's fields.
pub type Fields = serde_json::Map<String, Value>;

/// The fields of a struct.
pub(crate) fn fields(document: &impl serde::Serialize) -> Result<Fields, serde_json::Error> {
    match serde_json::to_value(document)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(serde::ser::Error::custom("not a struct")),
    }
}

/// The collection of each service that holds its receipts.
pub const RECEIPTS: &str = "receipts";

/// The field that says when a document expires: a receipt, or a document that its service declares with
/// [`expires`](crate::Service::expires). Firestore stores it as a native timestamp, because
/// [TTL](https://cloud.google.com/firestore/docs/ttl) ignores text. On this side of the port it is RFC 3339
/// text.
pub const TTL_FIELD: &str = "expireAt";

/// The field of a receipt with timers: the UTC day of the last one, such as `2026-11-21`.
pub const TIMERS_DUE: &str = "timersDue";

/// All fields of a receipt but `pending` and [`TIMERS_DUE`]. No query filters by them, and an index on a time that
/// only grows is a hotspot.
pub const UNINDEXED_RECEIPT_FIELDS: [&str; 10] =
    ["answer", "cancels", "claim", "createdAt", "events", "expireAt", "key", "messageId", "reason", "state"];

/// A document database with atomic commits guarded by preconditions.
///
/// Every call must end within [`Timing::store`](crate::Timing::store), possibly with an error.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one document.
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError>;

    /// Applies all writes or none. Returns the new version of each document, in order.
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError>;

    /// Reads a part of a collection, ordered by id.
    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError>;
}

/// The time of a document's last change, by the store's clock. Every change makes a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub Timestamp);

/// A document as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The id within the collection.
    pub id: String,
    /// The version, for the precondition of a later write.
    pub version: Version,
    /// The time between its last change and the read. Both are times of the store's clock, so that the clocks
    /// of two machines are never compared.
    pub age: Duration,
    /// The fields.
    pub fields: Fields,
}

impl Stored {
    /// A document as it was at `read_at`, by the store's clock.
    pub(crate) fn at(read_at: Timestamp, id: String, version: Version, fields: Fields) -> Self {
        let age = Duration::try_from(read_at.duration_since(version.0)).unwrap_or_default();
        Self { id, version, age, fields }
    }
}

/// One write of a commit.
#[derive(Clone, Debug)]
pub struct Write {
    /// The document.
    pub path: Path,
    /// The change.
    pub change: Change,
    /// The condition. If it does not hold, the whole commit is refused.
    pub only_if: Precondition,
}

/// The change that a write makes.
#[derive(Clone, Debug)]
pub enum Change {
    /// Replace the document.
    Set(Fields),
    /// Set `fields`, add `amounts` to integer fields, and leave the other fields. Additions commute, so they
    /// need no precondition and never conflict.
    Add {
        /// Fields to set.
        fields: Fields,
        /// The amounts, by field. An absent field counts as 0.
        amounts: BTreeMap<String, i64>,
    },
    /// Remove the document.
    Delete,
    /// Change nothing, and only check the precondition.
    Verify,
}

/// What [`Change::Add`] makes of a document.
pub(crate) fn add(document: &mut Fields, fields: &Fields, amounts: &BTreeMap<String, i64>) {
    document.extend(fields.clone());
    for (name, amount) in amounts {
        let old = document.get(name).and_then(Value::as_i64).unwrap_or(0);
        document.insert(name.clone(), old.saturating_add(*amount).into());
    }
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no condition.
    None,
    /// The document does not exist.
    Absent,
    /// The document is unchanged since this version was read or written.
    At(Version),
}

/// The documents to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// `services/<service>/<collection>`.
    pub collection: String,
    /// Fields and their required values.
    pub filters: Vec<(&'static str, Value)>,
    /// Only ids greater than this one.
    pub after: Option<String>,
    /// The most documents to return.
    pub limit: usize,
}

/// The database could not be reached, failed, or did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub String);

/// The reason why a commit failed, or may have failed. No text contains an id or a value of a document.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A precondition does not hold. No write was applied.
    #[error("a document was changed by another transaction")]
    Conflict,
    /// The store will always refuse these writes. No write was applied.
    #[error("the store refuses the documents: {0}")]
    Refused(String),
    /// No write was applied. A later attempt may succeed.
    #[error(transparent)]
    Failed(StoreError),
    /// The answer is missing. The writes may have been applied.
    #[error(transparent)]
    Unknown(StoreError),
}
