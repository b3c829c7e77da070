//! The record of a world: its requests, commits and publications, and the calls that reached the
//! outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use pushbox::wire::{attribute, code, dead_letter_topic};
use pushbox::{
    Message, Path, Timing,
    store::{Change, CommitError, Fields, Write},
};
use serde_json::Value;

use crate::{
    choice::MOST_SKEW,
    faults::{Fault, Step},
    outside::Repeats,
};

/// A delivery that takes longer than this may have no time left to move its message.
const LONG: SignedDuration = SignedDuration::from_secs(24);

/// The number of a request.
pub(crate) type RequestId = usize;

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) requests: Vec<Request>,
    pub(crate) calls: Vec<Call>,
    /// Every message that the broker accepted, including dead letters.
    pub(crate) published: Vec<Published>,
    /// The message of every timer that was set.
    pub(crate) timers: Vec<Message>,
    /// The path of every document that ever existed.
    pub(crate) paths: BTreeSet<Path>,
    /// The path of every document in the store of the outside world.
    pub(crate) outside_paths: BTreeSet<Path>,
    pub(crate) receipts: BTreeMap<Path, Receipt>,
    /// Receipts whose call the outside refused for good, until a replay begins anew.
    abandoned: BTreeMap<Path, Receipt>,
    /// One for each commit that marked an event as handled.
    pub(crate) handled: Vec<Handled>,
    /// One for each commit that records that the outside refused the call for an event.
    refused: Vec<Handled>,
    /// The rules that were broken along the way.
    pub(crate) violations: Vec<String>,
}

/// A delivery of a message.
pub(crate) struct Delivered {
    /// See [`Published::event`].
    pub(crate) event: String,
    /// Counted from 1.
    pub(crate) attempt: u32,
    /// If the message is the replay of a dead letter, its message id.
    pub(crate) replay: Option<String>,
}

/// A request to a process: a delivery, or a request of the scenario.
pub(crate) struct Request {
    pub(crate) service: String,
    /// `None` for a request of the scenario.
    delivery: Option<Delivered>,
    began_at: Timestamp,
    /// How many of [`Ledger::handled`] there were when it began.
    handled_before: usize,
    /// When it was answered.
    ended_at: Option<Timestamp>,
    /// The answer was a server error.
    pub(crate) has_failed: bool,
    /// The process died during the request.
    pub(crate) was_cut: bool,
    /// How many store calls of the request failed.
    pub(crate) store_failures: usize,
    /// The last read of the request failed.
    last_read_failed: bool,
    /// A publication of the request failed, or its answer was lost.
    could_not_publish: bool,
    /// The store refused a commit of the request for good.
    pub(crate) was_refused: bool,
    /// A call of the request did not get through, or had no answer.
    pub(crate) lacks_an_answer: bool,
}

impl Request {
    /// For a delivery, the event: see [`Published::event`].
    pub(crate) fn event(&self) -> Option<&str> {
        Some(&self.delivery.as_ref()?.event)
    }

    /// It delivers the replay of a dead letter.
    pub(crate) fn is_replay(&self) -> bool {
        self.replay().is_some()
    }

    /// The message id of the replay that it delivers, if it delivers one.
    pub(crate) fn replay(&self) -> Option<&str> {
        self.delivery.as_ref()?.replay.as_deref()
    }

    /// Whether it delivers this event to this service.
    pub(crate) fn delivers(&self, service: &str, event: &str) -> bool {
        self.service == service && self.event() == Some(event)
    }

    /// Records a step of the request.
    pub(crate) fn took(&mut self, step: Step, fault: Option<Fault>) {
        if matches!(step, Step::Get | Step::List | Step::Commit)
            && fault.is_some_and(|fault| !fault.ends_the_request())
        {
            self.store_failures += 1;
            self.was_refused |= fault == Some(Fault::Refused);
        }
        match step {
            Step::Get => self.last_read_failed = fault.is_some(),
            Step::Publish => self.could_not_publish |= fault.is_some(),
            _ => {}
        }
    }

    /// When it was answered, if it delivers a message for the first time or again.
    pub(crate) fn delivered_at(&self) -> Option<Timestamp> {
        self.ended_at.filter(|_| self.delivery.is_some() && !self.is_replay())
    }

    fn attempt(&self) -> u32 {
        self.delivery.as_ref().map_or(0, |delivery| delivery.attempt)
    }

    /// After this delivery, Pub/Sub moves the message in any case. So the service may move it without reading its receipt.
    fn moves_without_a_receipt(&self) -> bool {
        self.attempt() >= Timing::DEFAULT.max_delivery_attempts && self.last_read_failed
    }
}

/// A call that has reached the outside.
pub(crate) struct Call {
    pub(crate) request: Option<RequestId>,
    /// What it asks for. One delivery may make calls of several kinds, one after the other.
    pub(crate) kind: String,
    pub(crate) key: String,
    pub(crate) payload: Fields,
    pub(crate) repeats: Repeats,
    pub(crate) at: Timestamp,
    /// When the process had its answer, or stopped waiting for it.
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) was_answered: bool,
    /// The service had handled the event before the call.
    pub(crate) was_recorded: bool,
    /// How often the outside had refused the call before. After that, only a replay calls.
    pub(crate) refused_before: usize,
}

pub(crate) struct Published {
    pub(crate) id: String,
    pub(crate) message: Message,
}

pub(crate) struct Handled {
    pub(crate) service: String,
    pub(crate) event: String,
}

impl Handled {
    fn is(&self, service: &str, event: &str) -> bool {
        self.service == service && self.event == event
    }
}

/// The latest state of a receipt.
pub(crate) struct Receipt {
    pub(crate) service: String,
    is_done: bool,
    /// A delivery may be making the call.
    is_performing: bool,
    /// When that delivery got the right to do so.
    claimed_at: Timestamp,
    /// The outside refused the call.
    pub(crate) is_refused: bool,
    pub(crate) is_pending: bool,
    created_at: String,
    expire_at: Option<Timestamp>,
    message_id: Option<String>,
    pub(crate) event: Option<String>,
}

impl Receipt {
    fn of(path: &Path, fields: &Fields, now: Timestamp) -> Option<Self> {
        let service = service_of_receipt(path)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            service: service.to_owned(),
            is_done: fields.get("state").is_some_and(|state| state == "done"),
            is_performing: fields.get("claim").is_some_and(|claim| claim["phase"] == "performing"),
            claimed_at: now,
            is_refused: fields.get("claim").is_some_and(|claim| !claim["phase"]["refused"].is_null()),
            is_pending: fields.get("pending") == Some(&Value::Bool(true)),
            created_at: text("createdAt").unwrap_or_default(),
            expire_at: text("expireAt").and_then(|time| time.parse().ok()),
            message_id: text("messageId"),
            event: None,
        })
    }

    pub(crate) fn is_claimed(&self) -> bool {
        !self.is_done
    }
}

/// The service, if this is the path of one of its receipts.
pub(crate) fn service_of_receipt(path: &Path) -> Option<&str> {
    path.collection().strip_prefix("services/")?.strip_suffix("/receipts")
}

impl Published {
    /// Identifies the event. The message id cannot: a relay that publishes again gets another one.
    pub(crate) fn event(&self) -> String {
        event(&self.message.attributes, &self.id)
    }
}

pub(crate) fn event(attributes: &BTreeMap<String, String>, message_id: &str) -> String {
    match (attributes.get("ce-source"), attributes.get("ce-id")) {
        (Some(source), Some(id)) => format!("{source} {id}"),
        _ => attributes.get(attribute::DEAD_LETTER_MESSAGE_ID).map_or(message_id, String::as_str).to_owned(),
    }
}

impl Ledger {
    pub(crate) fn request(
        &mut self,
        service: &str,
        delivery: Option<Delivered>,
        began_at: Timestamp,
    ) -> RequestId {
        let service = service.to_owned();
        self.requests.push(Request {
            service,
            delivery,
            began_at,
            ended_at: None,
            has_failed: false,
            was_cut: false,
            store_failures: 0,
            last_read_failed: false,
            could_not_publish: false,
            was_refused: false,
            lacks_an_answer: false,
            handled_before: self.handled.len(),
        });
        self.requests.len() - 1
    }

    /// Records that a request is answered. Returns whether the store refused one of its commits for good.
    pub(crate) fn answered(&mut self, id: RequestId, status: StatusCode, now: Timestamp) -> bool {
        let request = &mut self.requests[id];
        (request.ended_at, request.has_failed) = (Some(now), status.is_server_error());
        let request = &self.requests[id];
        if let (Some(event), false) = (request.event(), status.is_success() || self.may_stay(request, now)) {
            let (service, attempt) = (&request.service, request.attempt());
            let rule = "a message that fails again and again becomes a dead letter";
            self.violations.push(format!("{rule}: {service} keeps {event} after delivery {attempt}"));
        }
        self.requests[id].was_refused
    }

    /// Whether a failed delivery may leave its message in the subscription.
    fn may_stay(&self, request: &Request, now: Timestamp) -> bool {
        let Some(event) = request.event() else { return true };
        if request.attempt() < Timing::DEFAULT.gives_up_at() {
            return true;
        }
        let service = &request.service;
        let mut others = self.requests.iter().filter(|other| other.delivers(service, event));
        let is_claimed = self.receipts.values().any(|receipt| {
            receipt.is_performing
                && after(receipt.claimed_at, Timing::DEFAULT.lease) > request.began_at
                && receipt.service == *service
                && receipt.event.as_deref() == Some(event)
        });
        let is_unread = request.last_read_failed && !request.moves_without_a_receipt();
        is_unread
            || request.could_not_publish
            || now.duration_since(request.began_at) > LONG
            || is_claimed
            || self.has_handled(service, event)
            || others.any(|other| other.ended_at.is_none() && !other.was_cut)
    }

    /// Records a message that the broker accepted, and the request that published it.
    pub(crate) fn accepted(&mut self, published: Published, request: Option<RequestId>) {
        let Message { topic, attributes, .. } = &published.message;
        if let (Some(service), Some(id)) = (attributes.get(attribute::DEAD_LETTER_SERVICE), request)
            && *topic == dead_letter_topic(service)
        {
            let event = event(attributes, "");
            let request = &self.requests[id];
            // Another delivery may handle the event, or begin its call, while this one rejects it.
            let before = &self.handled[..request.handled_before];
            let is_handled = before.iter().any(|handled| handled.is(service, &event));
            let is_in_flight = self.calls.iter().any(|call| {
                let of = call.request.map(|id| &self.requests[id]);
                of.is_some_and(|of| of.delivers(service, &event) && !of.was_cut)
                    && call.ended_at.is_none()
                    && call.at < request.began_at
            });
            let rule = if request.moves_without_a_receipt() {
                None
            } else if is_handled {
                Some("an event that is handled is no dead letter")
            } else if is_in_flight {
                Some("an event whose call is in flight is no dead letter")
            } else if self.rejects_without_a_call(request, attributes) {
                Some("a replay of a refused call makes the call again")
            } else {
                None
            };
            if let Some(rule) = rule {
                self.violations.push(format!("{rule}: {service} rejects {event}"));
            }
        }
        self.published.push(published);
    }

    /// Whether a replay is rejected because of an earlier refusal, although the outside may accept the call now.
    fn rejects_without_a_call(&self, request: &Request, attributes: &BTreeMap<String, String>) -> bool {
        let is_rejected = attributes.get(attribute::DEAD_LETTER_CODE).is_some_and(|it| it == code::REJECTED);
        let (Some(event), Some(replay)) = (request.event(), request.replay()) else { return false };
        // An earlier delivery of this replay has called, or another delivery while this one waited for it.
        let has_called = self.calls.iter().any(|call| {
            let of = call.request.map(|id| &self.requests[id]);
            of.filter(|of| of.delivers(&request.service, event))
                .is_some_and(|of| of.replay() == Some(replay) || call.at >= request.began_at)
        });
        is_rejected && !request.was_refused && !has_called && self.times_refused(&request.service, event) > 0
    }

    /// Records that a commit failed after the caller had hung up. Its request is that of the last call for the event.
    pub(crate) fn failed_in_background(&mut self, writes: &[Write], error: &CommitError) {
        if matches!(error, CommitError::Conflict) {
            return;
        }
        let Some(receipt) = writes.iter().find_map(|write| self.receipts.get(&write.path)) else { return };
        let Some(event) = &receipt.event else { return };
        let mut requests = self.calls.iter().rev().filter_map(|call| call.request);
        if let Some(id) = requests.find(|id| self.requests[*id].delivers(&receipt.service, event)) {
            self.requests[id].store_failures += 1;
            self.requests[id].was_refused |= matches!(error, CommitError::Refused(_));
        }
    }

    /// Records writes that were applied.
    pub(crate) fn committed(&mut self, writes: &[Write], now: Timestamp) {
        for Write { path, change, .. } in writes {
            if let Change::Set(fields) = change
                && let Some(receipt) = Receipt::of(path, fields, now)
            {
                let is_abandoned = fields.get("state").is_some_and(|state| state == "abandoned");
                let is_refused = receipt.is_refused;
                self.receipt(path, receipt, now);
                if is_abandoned || is_refused {
                    let receipt = &self.receipts[path];
                    let (service, event) = (receipt.service.clone(), receipt.event.clone());
                    self.refused.extend(event.map(|event| Handled { service, event }));
                }
                if is_abandoned {
                    // A replay handles the event as if for the first time.
                    self.abandoned.extend(self.receipts.remove_entry(path));
                }
            }
            if !self.paths.contains(path) {
                self.paths.insert(path.clone());
            }
        }
    }

    fn receipt(&mut self, path: &Path, mut receipt: Receipt, now: Timestamp) {
        let before = self.receipts.get(path).or_else(|| self.abandoned.get(path));
        let was_done = before.is_some_and(|before| before.is_done);
        let is_new = before.is_none_or(|before| before.created_at != receipt.created_at);
        // The clock of a process may be wrong by this much.
        let skew = |expire_at: Timestamp| expire_at.saturating_sub(MOST_SKEW).unwrap_or_default();
        let was_expired =
            before.and_then(|before| before.expire_at).is_some_and(|expire_at| skew(expire_at) <= now);
        // The ledger does not know the id of a message that is delivered again after days. After the receipt
        // has expired, such a message is another event.
        let event = receipt.message_id.as_deref().and_then(|id| self.event_of(id));
        let event = event.or_else(|| before.filter(|_| !was_expired)?.event.clone());
        receipt.event.clone_from(&event);
        if was_done && !was_expired && (receipt.is_claimed() || is_new) {
            self.violations.push(format!(
                "a receipt that is done stays as it is: {} handles {event:?} again",
                receipt.service
            ));
        }
        if receipt.is_done
            && (!was_done || is_new)
            && let Some(event) = event
        {
            self.handled.push(Handled { service: receipt.service.clone(), event });
        }
        self.receipts.insert(path.clone(), receipt);
    }

    /// Checks that a call begins early enough: it ends, and its outcome is recorded, before another delivery may call.
    pub(crate) fn calls_soon(&mut self, id: Option<RequestId>, now: Timestamp) {
        let Some(request) = id.map(|id| &self.requests[id]) else { return };
        let calls_before = self.calls.iter().any(|call| call.request == id);
        let Timing { call_cut_off, completion, lease, .. } = Timing::DEFAULT;
        let mut receipts = self.receipts.values().filter(|receipt| receipt.is_performing);
        let claim = receipts
            .find(|claim| claim.service == request.service && claim.event.as_deref() == request.event());
        if let Some(claim) = claim
            && !calls_before
            && after(now, call_cut_off + completion) >= after(claim.claimed_at, lease)
        {
            let (service, claimed_at) = (&claim.service, claim.claimed_at);
            self.violations.push(format!(
                "a call ends before its lease: {service} calls at {now}, claimed at {claimed_at}"
            ));
        }
    }

    fn event_of(&self, message_id: &str) -> Option<String> {
        let published = self.published.iter().find(|published| published.id == message_id)?;
        Some(published.event())
    }

    pub(crate) fn has_handled(&self, service: &str, event: &str) -> bool {
        self.handled.iter().any(|handled| handled.is(service, event))
    }

    pub(crate) fn times_refused(&self, service: &str, event: &str) -> usize {
        self.refused.iter().filter(|refused| refused.is(service, event)).count()
    }

    /// How many receipts of the service have unpublished events.
    pub(crate) fn pending(&self, service: &str) -> usize {
        self.receipts.values().filter(|receipt| receipt.service == service && receipt.is_pending).count()
    }

    /// The messages that services dead-lettered: the service, the event and the reason. Messages that the
    /// broker forwarded are not included.
    pub(crate) fn dead_lettered(&self) -> impl Iterator<Item = (String, String, String)> {
        self.published.iter().filter_map(|published| {
            let attributes = &published.message.attributes;
            let service = attributes.get(attribute::DEAD_LETTER_SERVICE)?;
            let message_id = attributes.get(attribute::DEAD_LETTER_MESSAGE_ID).map_or("", String::as_str);
            let reason = attributes.get(attribute::DEAD_LETTER_REASON).cloned().unwrap_or_default();
            Some((service.clone(), event(attributes, message_id), reason))
        })
    }
}

/// The sum, or the latest time if the sum overflows.
pub(crate) fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.saturating_add(pause).unwrap_or(Timestamp::MAX)
}
