//! The receipt: the document that records how far a service has handled a key. It also holds the outgoing
//! events, so it is inbox and outbox in one.

use std::time::Duration;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    Path, Reply, ServiceName,
    context::Subject,
    json,
    key::Key,
    message::{EMPTY, Outbox},
    store::{Change, Fields, RECEIPTS, Store, StoreError, Version, fields},
};

/// True in a receipt whose events may not have been published yet.
pub(crate) const PENDING: &str = "pending";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    #[serde(flatten)]
    pub(crate) about: About,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// The part of a receipt that does not depend on its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    /// The key, for people. The receipt's id is the key's digest.
    pub(crate) key: String,
    /// The message that was handled; absent for a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) expire_at: Timestamp,
}

/// How far the handling has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub(crate) enum State {
    /// An effect is claimed, and its outcome is not recorded yet.
    Claimed { claim: Claim },
    /// It is handled.
    Done(Done),
    /// The outside refused the call for good, with this reason, and `abandon` has run. A replay of
    /// the dead letter begins anew. Any other delivery is rejected with the same reason, because a second
    /// call might have another result.
    Abandoned { reason: String },
}

/// The right of one delivery to make the call of an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Identifies the holder of the claim.
    pub(crate) token: String,
    /// The call's idempotency key. It is random, because another deployment may share the account with
    /// this one. It stays the same until the effect is done.
    pub(crate) key: String,
    /// The call, as JSON. A delivery that takes the claim over makes the same call, even if a price has
    /// changed meanwhile: Stripe refuses an idempotency key with another amount.
    pub(crate) call: String,
    pub(crate) phase: Phase,
    /// An earlier holder may have made the call.
    #[serde(default)]
    pub(crate) may_have_called: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    /// The holder may be making the call, until the lease ends.
    Performing,
    /// The holder has given up. Any delivery may take the claim over.
    Released,
    /// The outside refused the call for good, with this reason. If an earlier holder may have made the call,
    /// the claim keeps its key for a replay. Otherwise only the abandonment is missing.
    Refused(String),
    /// The call was made, with this outcome as JSON. It is never made again. Only the completion is missing.
    Performed(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Done {
    #[serde(flatten)]
    pub(crate) outbox: Outbox,
    /// [`TIMERS_DUE`](crate::store::TIMERS_DUE), by which `functions timers reconcile` finds timers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timers_due: Option<Date>,
    /// The reply to a command, for a caller that repeats the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    /// A command's outbox may not have been relayed yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pending: bool,
}

impl Done {
    pub(crate) fn new(outbox: Outbox) -> Self {
        let last = outbox.events.iter().filter_map(|event| event.at).max();
        let timers_due = last.map(|last| last.to_zoned(TimeZone::UTC).date());
        Self { outbox, timers_due, answer: None, pending: false }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) fingerprint: String,
    pub(crate) reply: Reply,
}

/// A receipt as it was read.
pub(crate) struct Found {
    pub(crate) receipt: Receipt,
    pub(crate) version: Version,
    /// How long ago it was last changed, by the store's clock.
    pub(crate) age: Duration,
}

impl State {
    /// Handled, with this outbox to relay.
    pub(crate) fn done(outbox: Outbox) -> Self {
        Self::Done(Done::new(outbox))
    }
}

impl Receipt {
    pub(crate) fn to_change(&self) -> Result<Change, serde_json::Error> {
        fields(self).map(Change::Set)
    }

    /// Reads the receipt at `path`, if it exists.
    pub(crate) async fn read(store: &dyn Store, path: &Path) -> Result<Option<Found>, StoreError> {
        let Some(stored) = store.get(path).await? else { return Ok(None) };
        let receipt = Self::of(stored.fields)?;
        Ok(Some(Found { receipt, version: stored.version, age: stored.age }))
    }

    /// An unreadable receipt is an error: to treat it as absent or as done would lose an event.
    pub(crate) fn of(fields: Fields) -> Result<Self, StoreError> {
        let unreadable = |error| StoreError(format!("a receipt cannot be read: {}", json::describe(&error)));
        serde_json::from_value(fields.into()).map_err(unreadable)
    }

    /// What it holds for the relay.
    pub(crate) fn outbox(&self) -> &Outbox {
        match &self.state {
            State::Done(done) => &done.outbox,
            State::Claimed { .. } | State::Abandoned { .. } => &EMPTY,
        }
    }

    /// Whether the first step of a delivery may replace it as if it did not exist. TTL deletes expired
    /// receipts late. A replay may replace an abandoned one, once.
    pub(crate) fn is_void(&self, subject: &Subject, now: Timestamp) -> bool {
        let is_abandoned = matches!(self.state, State::Abandoned { .. });
        self.has_expired(now) || (is_abandoned && self.about.may_be_replayed(subject))
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.about.expire_at <= now
    }

    /// The receipt of a command after its events are published.
    pub(crate) fn without_mark(mut self) -> Self {
        if let State::Done(done) = &mut self.state {
            done.pending = false;
        }
        self
    }
}

impl About {
    pub(crate) fn new(key: &Key, message_id: Option<&str>, now: Timestamp, retention: Duration) -> Self {
        Self {
            key: key.to_string(),
            message_id: message_id.map(str::to_owned),
            created_at: now,
            expire_at: now.saturating_add(retention).unwrap_or(Timestamp::MAX),
        }
    }

    /// Whether the delivery replays a message that was refused. A redelivery of that message does not.
    pub(crate) fn may_be_replayed(&self, subject: &Subject) -> bool {
        subject.is_replay && self.message_id != subject.message_id
    }
}

/// The path of a key's receipt.
pub(crate) fn path(service: ServiceName, key: &Key) -> Path {
    Path::new(service, RECEIPTS, key.digest())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_receipt_that_cannot_be_read_is_never_taken_for_done() {
        let claim = json!({ "token": "t", "key": "k", "call": "1", "phase": "performing" });
        let of_later_release = json!({ "token": "t", "key": "k", "call": "1", "phase": "later" });
        let of_earlier_release = json!({ "token": "t", "until": "2026-11-20T12:00:00Z", "call": "1" });
        for (fields, expected) in [
            (json!({ "state": "done", "events": [] }), Ok("done")),
            (json!({ "state": "done" }), Ok("done")),
            (json!({ "state": "claimed", "claim": claim }), Ok("claimed")),
            (json!({ "state": "claimed", "claim": of_later_release }), Err(())),
            (json!({ "state": "claimed", "claim": of_earlier_release, "events": [] }), Err(())),
            (json!({ "state": "abandoned", "reason": "no" }), Ok("abandoned")),
            (json!({ "state": "later" }), Err(())),
            (json!({ "events": [] }), Err(())),
        ] {
            let mut all = json!({ "key": "k", "createdAt": "2026-11-20T12:00:00Z", "expireAt": "2026-12-20T12:00:00Z" });
            let Value::Object(more) = fields.clone() else { panic!("an object") };
            all.as_object_mut().expect("an object").extend(more);
            let Value::Object(all) = all else { panic!("an object") };
            let found = Receipt::of(all).map_err(|_| ()).map(|receipt| match receipt.state {
                State::Claimed { .. } => "claimed",
                State::Done(_) => "done",
                State::Abandoned { .. } => "abandoned",
            });
            assert_eq!(found, expected, "{fields}");
        }
    }
}
