//! What a tool that repairs dead letters must know of a message: its type, its receipt, and how far the service has come
//! with it. All this is read as the runtime reads it.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Path,
    delivery::Delivery,
    receipt::{Claim, Phase, Receipt, State},
    store::{RECEIPTS, Store, StoreError},
};

/// A message as its service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The event's type, if the service can read it.
    pub event_type: Option<String>,
    /// The id of the event's receipt.
    pub receipt: String,
}

/// Identifies a message that the subscription delivers. `subscription` is its full name. `None` if the message has no id.
#[must_use]
pub fn identify(
    attributes: &BTreeMap<String, String>,
    data: &Bytes,
    message_id: &str,
    subscription: &str,
) -> Option<Identity> {
    let delivery = Delivery::of_message(attributes.clone(), data.clone(), message_id, subscription).ok()?;
    let event_type = delivery.event_type().ok().flatten().map(Into::into);
    Some(Identity { event_type, receipt: delivery.key().digest().to_owned() })
}

/// How far a service has come with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "camelCase")]
pub enum Progress {
    /// It has done nothing that lasts.
    None,
    /// It has claimed the event, and the result of the call is not recorded.
    #[serde(rename_all = "camelCase")]
    Claimed {
        /// If it may have made the call: the time of the claim. A replay makes the call with the same idempotency key.
        may_have_called_since: Option<Timestamp>,
    },
    /// It has handled the event, and drops a replay.
    Handled,
}

/// Reads the receipt of an event. A receipt that has expired counts as none.
///
/// # Errors
/// If the store does not answer, or if the receipt cannot be read.
pub async fn progress(
    store: &dyn Store,
    service: &str,
    receipt: &str,
    now: Timestamp,
) -> Result<Progress, StoreError> {
    let found = Receipt::read(store, &Path::new(service, RECEIPTS, receipt)).await?;
    let Some(Receipt { about, state }) =
        found.map(|found| found.receipt).filter(|found| !found.has_expired(now))
    else {
        return Ok(Progress::None);
    };
    Ok(match state {
        State::Done(_) => Progress::Handled,
        // The outside refused the call, so a replay makes a new one.
        State::Abandoned { .. } => Progress::None,
        State::Claimed { claim } => {
            Progress::Claimed { may_have_called_since: may_have_called(&claim).then_some(about.created_at) }
        }
    })
}

/// Whether a replay repeats a call that may have been made.
fn may_have_called(claim: &Claim) -> bool {
    match &claim.phase {
        Phase::Performing => true,
        Phase::Released | Phase::Refused(_) => claim.may_have_called,
        Phase::Performed(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(phase: serde_json::Value, may_have_called: bool) -> Claim {
        let claim = json!({ "token": "t", "key": "k", "call": "1", "phase": phase, "may_have_called": may_have_called });
        serde_json::from_value(claim).expect("a claim")
    }

    #[test]
    fn only_an_open_call_may_be_repeated() {
        for (phase, before, expected) in [
            (json!("performing"), false, true),
            (json!("released"), false, false),
            (json!("released"), true, true),
            (json!({ "refused": "no" }), true, true),
            (json!({ "performed": "1" }), true, false),
        ] {
            assert_eq!(may_have_called(&claim(phase.clone(), before)), expected, "{phase} {before}");
        }
    }
}
