//! The document that proves that a service has handled a key. It holds the outgoing events too, so
//! that it is inbox and outbox in one.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Path, Reply, ServiceName, json,
    key::Key,
    message::Outgoing,
    store::{Change, Fields, Store, StoreError, Version, fields},
    timing,
};

pub(crate) const COLLECTION: &str = "receipts";

/// Every field but `pending`: no query filters by them, and an index on a time that only grows is a
/// hotspot.
pub(crate) const UNINDEXED: [&str; 7] =
    ["answer", "claim", "createdAt", "events", "expireAt", "key", "messageId"];

/// True in a receipt whose events may not have been published yet.
pub(crate) const PENDING: &str = "pending";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    /// What is handled, for people. The receipt's id is the key's digest.
    key: String,
    /// The message that was handled; absent for a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    created_at: Timestamp,
    pub(crate) expire_at: Timestamp,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// How far the handling has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum State {
    /// An effect was claimed, and its outcome is not recorded yet.
    Claimed { claim: Claim },
    /// It is handled.
    Done(Done),
}

/// One call to the outside that a delivery may make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Tells the holder of this claim from every other one.
    pub(crate) token: String,
    /// The call's idempotency key. It is random, so that no other deployment that shares an account
    /// with this one can use the same; and it stays the same until the effect is done.
    pub(crate) key: String,
    /// What the effect is asked to do, as JSON. Whoever takes the claim over makes the very same
    /// call, whatever has changed meanwhile: Stripe refuses an idempotency key with another amount.
    pub(crate) call: String,
    pub(crate) phase: Phase,
    /// Another delivery held it before, and may have made the call.
    #[serde(default)]
    pub(crate) is_repeated: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    /// The holder may be making the call, until the lease ends.
    Performing,
    /// The holder has given the claim up: any delivery may take it over.
    Released,
    /// The call was made, and this came of it, as JSON. It is never made again. What is left is to
    /// complete.
    Performed(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The outbox.
    #[serde(default)]
    pub(crate) events: Vec<Outgoing>,
    /// A command's answer, for the caller who asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    /// A command's events may not have been published yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pending: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) fingerprint: String,
    pub(crate) reply: Reply,
}

/// A receipt as the store has it.
pub(crate) struct Found {
    pub(crate) receipt: Receipt,
    pub(crate) version: Version,
    /// How long ago it was last changed, by the store's clock.
    pub(crate) age: Duration,
}

impl Receipt {
    pub(crate) fn new(key: &Key, message_id: Option<&str>, now: Timestamp, state: State) -> Self {
        Self {
            key: key.to_string(),
            message_id: message_id.map(str::to_owned),
            created_at: now,
            expire_at: now.saturating_add(timing::RECEIPT_RETENTION).unwrap_or(Timestamp::MAX),
            state,
        }
    }

    pub(crate) fn to_change(&self) -> Result<Change, serde_json::Error> {
        fields(self).map(Change::Set)
    }

    /// Reads the receipt at `path`, if there is one.
    pub(crate) async fn read(store: &dyn Store, path: &Path) -> Result<Option<Found>, StoreError> {
        let Some(stored) = store.get(path).await? else { return Ok(None) };
        let receipt = Self::of(stored.fields)?;
        Ok(Some(Found { receipt, version: stored.version, age: stored.age }))
    }

    pub(crate) fn of(fields: Fields) -> Result<Self, StoreError> {
        let has_claim = fields.get("claim").is_some_and(|claim| !claim.is_null());
        let unreadable = |error| StoreError(format!("a receipt cannot be read: {}", json::describe(&error)));
        let receipt: Self = serde_json::from_value(fields.into()).map_err(unreadable)?;
        match &receipt.state {
            // A release that has another form of claim is at work. To take it for done would lose the call.
            State::Done(_) if has_claim => Err(StoreError("a claim cannot be read".to_owned())),
            _ => Ok(receipt),
        }
    }

    /// The same receipt in another state.
    pub(crate) fn in_state(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }

    /// What it holds for its relay.
    pub(crate) fn events(&self) -> &[Outgoing] {
        match &self.state {
            State::Done(done) => &done.events,
            State::Claimed { .. } => &[],
        }
    }

    /// The receipt of a command whose events are published.
    pub(crate) fn without_mark(mut self) -> Self {
        if let State::Done(done) = &mut self.state {
            done.pending = false;
        }
        self
    }
}

/// Where a key's receipt is.
pub(crate) fn path(service: ServiceName, key: &Key) -> Path {
    Path::new(service, COLLECTION, key.digest())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_claim_that_cannot_be_read_is_not_taken_for_done() {
        for (fields, expected) in [
            (json!({ "events": [] }), Ok("done")),
            (json!({}), Ok("done")),
            (json!({ "claim": null, "events": [] }), Ok("done")),
            (
                json!({ "claim": { "token": "t", "key": "k", "call": "1", "phase": "performing" } }),
                Ok("claimed"),
            ),
            (
                json!({ "claim": { "token": "t", "until": "2026-11-20T12:00:00Z", "call": "1" }, "events": [] }),
                Err(()),
            ),
            (json!({ "claim": { "token": "t", "key": "k", "call": "1", "phase": "later" } }), Err(())),
        ] {
            let mut all = json!({ "key": "k", "createdAt": "2026-11-20T12:00:00Z", "expireAt": "2026-12-20T12:00:00Z" });
            let Value::Object(more) = fields.clone() else { panic!("an object") };
            all.as_object_mut().expect("an object").extend(more);
            let Value::Object(all) = all else { panic!("an object") };
            let found = Receipt::of(all).map_err(|_| ()).map(|receipt| match receipt.state {
                State::Claimed { .. } => "claimed",
                State::Done(_) => "done",
            });
            assert_eq!(found, expected, "{fields}");
        }
    }
}
