//! Reads from receipts what a service has done with an event or a command, and which events that caused.
//!
//! Each question is one read of one document, without an index. The answers reach back as far as
//! [`receipt_retention`](crate::Timing::receipt_retention).

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    Message, Path, delivery,
    receipt::{Phase, Receipt, State},
    store::{RECEIPTS, Store, StoreError},
};

/// What a service has done with an input.
#[derive(Clone, Debug)]
pub struct Handling {
    /// The input, for people: the source and the id of an event, or the route and the idempotency key of a command.
    pub key: String,
    /// When the handling was committed.
    pub at: Timestamp,
    /// How far it has come.
    pub progress: Progress,
    /// How long ago the call was claimed, by the store's clock, while nobody else may make it.
    pub claimed_for: Option<Duration>,
    /// The events that it caused.
    pub events: Vec<Caused>,
}

/// How far a handling has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is complete.
    Done,
    /// A call to the outside is claimed, and its outcome is not recorded.
    Claimed,
    /// The call was made. Only its record is missing.
    Performed,
    /// The outside refused the call for good, with this reason.
    Abandoned(String),
}

/// An event that a handling caused.
#[derive(Clone, Debug)]
pub struct Caused {
    /// The message that is published.
    pub message: Message,
    /// When a timer publishes it; none for an immediate publication.
    pub due: Option<Timestamp>,
}

/// What `service` has done with a message. `subscription` is the full name of the one that delivers it:
/// `projects/…/subscriptions/…`. None if there is no receipt.
///
/// # Errors
/// The store fails, or the receipt cannot be read.
pub async fn of_message(
    store: &dyn Store,
    service: &str,
    subscription: &str,
    message_id: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Option<Handling>, StoreError> {
    let key = delivery::key(attributes, Some(subscription), message_id);
    read(store, service, key.digest()).await
}

/// What `service` has done with the command that begins a story. `id` is the [`CORRELATION_ID`](crate::wire::attribute::CORRELATION_ID) of the
/// story's events. None if that is not a command of this service.
///
/// # Errors
/// The store fails, or the receipt cannot be read.
pub async fn of_command(store: &dyn Store, service: &str, id: &str) -> Result<Option<Handling>, StoreError> {
    let is_receipt = id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_receipt { read(store, service, id).await } else { Ok(None) }
}

async fn read(store: &dyn Store, service: &str, id: &str) -> Result<Option<Handling>, StoreError> {
    let Some(found) = Receipt::read(store, &Path::new(service, RECEIPTS, id)).await? else { return Ok(None) };
    let Receipt { about, state } = found.receipt;
    let is_held = matches!(&state, State::Claimed { claim } if claim.phase == Phase::Performing);
    let claimed_for = is_held.then_some(found.age);
    let (progress, events) = match state {
        State::Done(done) => (Progress::Done, done.outbox.events),
        State::Claimed { claim } => match claim.phase {
            Phase::Performed(_) => (Progress::Performed, Vec::new()),
            Phase::Performing | Phase::Released | Phase::Refused(_) => (Progress::Claimed, Vec::new()),
        },
        State::Abandoned { reason } => (Progress::Abandoned(reason), Vec::new()),
    };
    let caused = events.into_iter().map(|event| Caused { due: event.at, message: event.into() });
    let events = caused.collect();
    Ok(Some(Handling { key: about.key, at: about.created_at, progress, claimed_for, events }))
}
