//! The document that proves that a service has handled a key. It holds the outgoing events too, so
//! that it is inbox and outbox in one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Path, Reply,
    message::Outgoing,
    store::{Change, Precondition, Store, StoreError, Version, Write, fields},
    timing,
};

pub(crate) const COLLECTION: &str = "receipts";

/// Every field but `pending`: nobody looks for them, and an index on a time
/// that only grows is a hotspot.
pub(crate) const UNINDEXED: [&str; 7] =
    ["answer", "claim", "createdAt", "events", "expireAt", "key", "messageId"];

/// True in a receipt whose events may not have been published yet.
pub(crate) const PENDING: &str = "pending";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    /// What was handled: see [`crate::delivery::Delivery::key`].
    pub(crate) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
    /// The outbox.
    #[serde(default)]
    pub(crate) events: Vec<Outgoing>,
    /// Somebody is performing an effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<Claim>,
    /// A producer's answer, for the caller who asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pending: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) expire_at: Timestamp,
}

/// Who may perform the effect, until when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Tells this claim from every other one.
    pub(crate) token: String,
    pub(crate) until: Timestamp,
    /// What the effect was asked to do, as JSON. Whoever takes the claim over does the very same,
    /// whatever has changed meanwhile; Stripe, for one, refuses an idempotency key with another
    /// amount.
    pub(crate) call: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) fingerprint: String,
    pub(crate) reply: Reply,
}

impl Receipt {
    /// A receipt for `key`, with nothing in it yet.
    pub(crate) fn new(key: &str, now: Timestamp) -> Self {
        Self {
            key: key.to_owned(),
            message_id: None,
            events: Vec::new(),
            claim: None,
            answer: None,
            pending: false,
            created_at: now,
            expire_at: now.saturating_add(timing::RECEIPT_RETENTION).unwrap_or(Timestamp::MAX),
        }
    }

    pub(crate) fn write(&self, path: &Path, only_if: Precondition) -> Result<Write, serde_json::Error> {
        Ok(Write { path: path.clone(), change: Change::Set(fields(self)?), only_if })
    }

    /// Reads the receipt at `path`, if there is one.
    pub(crate) async fn read(store: &dyn Store, path: &Path) -> Result<Option<(Self, Version)>, StoreError> {
        let Some(stored) = store.get(path).await? else { return Ok(None) };
        let receipt = serde_json::from_value(stored.fields.into())
            .map_err(|error| StoreError(format!("unreadable receipt {path}: {error}")))?;
        Ok(Some((receipt, stored.version)))
    }
}

/// Where a key's receipt is. Ids are hashes: keys that sort by time would put all load on one
/// place of the index.
/// <https://firebase.google.com/docs/firestore/best-practices#hotspots>
pub(crate) fn path(service: &str, key: &str) -> Path {
    Path::new(service, COLLECTION, &digest(&[key])[..40])
}

/// A SHA-256 of the parts, in hex.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that ["ab", "c"] and ["a", "bc"] differ.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut hex = String::with_capacity(64);
    let digits = hash.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    hex.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    hex
}
