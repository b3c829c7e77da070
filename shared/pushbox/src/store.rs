//! The port to the database, and its two adapters.

mod firestore;
mod limits;
mod memory;

pub use firestore::Firestore;
pub use memory::Memory;

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

/// The one field that is stored as a native timestamp (as text it would not be deleted by
/// [TTL](https://cloud.google.com/firestore/docs/ttl)); RFC 3339 text on this side of the port.
pub const TTL_FIELD: &str = "expireAt";

/// A document database with atomic commits guarded by preconditions.
///
/// Every call ends within a few seconds, with an error if need be.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one document.
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError>;

    /// Applies all of `writes`, or none. Returns each document's new version, in order.
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError>;

    /// Reads a part of a collection, in the order of the ids.
    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError>;
}

/// When a document was last changed, by the store's clock. It differs after each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub Timestamp);

/// A document as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its id within its collection.
    pub id: String,
    /// What a later write can be conditional on.
    pub version: Version,
    /// How long before the read it was last changed. Both times are the store's, so that nobody
    /// compares the clocks of two machines.
    pub age: Duration,
    /// What it holds.
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
    /// Which document.
    pub path: Path,
    /// What to do with it.
    pub change: Change,
    /// What must be so, or else the whole commit is refused.
    pub only_if: Precondition,
}

/// What a write does.
#[derive(Clone, Debug)]
pub enum Change {
    /// Replace the document.
    Set(Fields),
    /// Set `fields`, add to the numeric fields of `amounts`, leave the others. Commutes with
    /// itself, so it needs no precondition and never loses a race.
    Add {
        /// Fields to set.
        fields: Fields,
        /// How much to add, by field; an absent field counts as 0.
        amounts: BTreeMap<String, i64>,
    },
    /// Remove the document.
    Delete,
    /// Change nothing; only check the precondition.
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

/// What must be so for a commit to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Anything goes.
    None,
    /// The document does not exist.
    Absent,
    /// The document is unchanged since this version was read or written.
    At(Version),
}

/// Which documents to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// `services/<service>/<collection>`.
    pub collection: String,
    /// Fields and the values that they must have.
    pub filters: Vec<(&'static str, Value)>,
    /// Only ids greater than this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// The database could not be asked, or did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub String);

/// Why a commit did not happen, or may not have happened. None of the texts holds a value of a
/// document or its id.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A precondition did not hold. Nothing was applied.
    #[error("a document was changed by another transaction")]
    Conflict,
    /// The store refuses these writes whenever they come. Nothing was applied.
    #[error("the store refuses the documents: {0}")]
    Refused(String),
    /// Nothing was applied, but it may be later.
    #[error(transparent)]
    Failed(StoreError),
    /// The answer is missing: it may have been applied or not.
    #[error(transparent)]
    Unknown(StoreError),
}
