//! The messages of one subscription, from their arrival to their ack.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    filter::Filter,
    limits,
    policy::{DeliveryPolicy, after},
};

/// A message that was published to a topic.
#[derive(Debug)]
pub struct Published {
    pub(crate) number: u64,
    /// The topic's short name.
    pub topic: String,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The data.
    pub data: Bytes,
    /// When it was published.
    pub publish_time: Timestamp,
    /// For a message that was forwarded as a dead letter: why its last delivery failed.
    pub(crate) last_failure: Option<String>,
}

impl Published {
    /// The message ID.
    #[must_use]
    pub fn id(&self) -> String {
        self.number.to_string()
    }

    /// The bytes that count towards the broker's limits.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.len() + attributes.sum::<usize>()
    }
}

/// Identifies one delivery of one message. A redelivery has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId(
    /// Its number, which is the ack id of the REST API.
    pub u64,
);

/// A message in flight to a subscriber, which must ack or nack it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Identifies the delivery in an ack or nack.
    pub id: DeliveryId,
    /// The subscription's short name.
    pub subscription: Arc<str>,
    /// The service that owns the subscription.
    pub service: Arc<str>,
    /// Counted from 1.
    pub attempt: u32,
    /// The message.
    pub message: Arc<Published>,
}

pub(super) struct Subscription {
    pub(super) name: Arc<str>,
    /// The service that owns the messages. For a subscription that a person created: its own name.
    pub(super) service: Arc<str>,
    pub(super) filter: Option<Filter>,
    pub(super) kind: Kind,
    /// The size of all kept messages.
    bytes: usize,
    /// By due time, then by age.
    waiting: BTreeMap<(Timestamp, u64), Waiting>,
    in_flight: BTreeMap<DeliveryId, InFlight>,
    /// Deliveries with lower ids began before the last [`wake`](Subscription::wake).
    first_after_wake: DeliveryId,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Messages are pushed to the service. Messages that it fails to ack go to the dead-letter
    /// topic.
    Push { dead_letter_topic: String },
    /// Dead letters are kept until somebody pulls them.
    Holder,
    /// A person created it, to watch published messages.
    Pull {
        ack_deadline: Duration,
        /// Acked messages, kept so that [`seek`](Subscription::seek) can deliver them again. `None` if
        /// the subscription does not keep them.
        acked: Option<BTreeMap<u64, Arc<Published>>>,
    },
}

struct Waiting {
    message: Arc<Published>,
    attempts: u32,
}

struct InFlight {
    message: Arc<Published>,
    attempts: u32,
    deadline: Timestamp,
}

/// What happens to a message after a failed delivery.
pub(super) enum Failed {
    Again,
    TooOften { attempts: u32 },
}

impl Subscription {
    pub(super) fn new(name: &str, service: &str, filter: Option<Filter>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            service: service.into(),
            filter,
            kind,
            bytes: 0,
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            first_after_wake: DeliveryId(0),
        }
    }

    pub(super) fn is_push(&self) -> bool {
        matches!(self.kind, Kind::Push { .. })
    }

    pub(super) fn is_holder(&self) -> bool {
        matches!(self.kind, Kind::Holder)
    }

    pub(super) fn passes(&self, attributes: &BTreeMap<String, String>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.passes(attributes))
    }

    pub(super) fn add(&mut self, message: Arc<Published>, now: Timestamp) {
        self.bytes += message.bytes();
        self.waiting.insert((now, message.number), Waiting { message, attempts: 0 });
    }

    /// Starts the next delivery, if one is due.
    pub(super) fn deliver(
        &mut self,
        id: DeliveryId,
        policy: &DeliveryPolicy,
        now: Timestamp,
    ) -> Option<Delivery> {
        loop {
            let next = self.waiting.first_entry().filter(|next| next.key().0 <= now)?;
            let Waiting { message, attempts } = next.remove();
            if self.is_too_old(&message, policy, now) {
                self.bytes -= message.bytes();
                continue;
            }
            let attempts = attempts + 1;
            let deadline = after(now, self.ack_deadline(policy));
            self.in_flight.insert(id, InFlight { message: message.clone(), attempts, deadline });
            let (subscription, service) = (self.name.clone(), self.service.clone());
            return Some(Delivery { id, subscription, service, attempt: attempts, message });
        }
    }

    pub(super) fn has_room(&self, policy: &DeliveryPolicy) -> bool {
        self.in_flight.len() < policy.max_in_flight
    }

    /// Acks a delivery. Returns its message, or `None` if the delivery is not in flight.
    pub(super) fn ack(&mut self, id: DeliveryId) -> Option<Arc<Published>> {
        let message = self.in_flight.remove(&id)?.message;
        match &mut self.kind {
            Kind::Pull { acked: Some(acked), .. } => {
                acked.insert(message.number, message.clone());
            }
            _ => self.bytes -= message.bytes(),
        }
        Some(message)
    }

    /// Removes an unacked message.
    pub(super) fn take(&mut self, number: u64) -> Option<Arc<Published>> {
        let waiting = self.waiting.extract_if(.., |(_, waiting), _| *waiting == number).next();
        let message = waiting.map(|(_, waiting)| waiting.message).or_else(|| {
            let mut in_flight =
                self.in_flight.extract_if(.., |_, delivery| delivery.message.number == number);
            in_flight.next().map(|(_, delivery)| delivery.message)
        })?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// Sets a new deadline for a delivery.
    pub(super) fn extend(&mut self, id: DeliveryId, deadline: Timestamp) {
        if let Some(delivery) = self.in_flight.get_mut(&id) {
            delivery.deadline = deadline;
        }
    }

    /// Acks all messages that were published before `time`. Delivers all later messages again that
    /// are still kept. Returns the numbers of the acked messages.
    /// <https://cloud.google.com/pubsub/docs/replay-overview#seek_to_a_time>
    pub(super) fn seek(&mut self, time: Timestamp, now: Timestamp) -> Vec<u64> {
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.message);
        let in_flight = std::mem::take(&mut self.in_flight).into_values().map(|delivery| delivery.message);
        let mut messages: BTreeMap<u64, Arc<Published>> =
            waiting.chain(in_flight).map(|message| (message.number, message)).collect();
        self.bytes = 0;
        let mut retained = match &mut self.kind {
            Kind::Pull { acked: Some(acked), .. } => Some(acked),
            _ => None,
        };
        if let Some(acked) = &mut retained {
            messages.append(acked);
        }
        let passed: BTreeMap<_, _> =
            messages.extract_if(.., |_, message| message.publish_time < time).collect();
        let numbers = passed.keys().copied().collect();
        if let Some(acked) = retained {
            self.bytes = passed.values().map(|message| message.bytes()).sum();
            *acked = passed;
        }
        for message in messages.into_values() {
            self.add(message, now);
        }
        numbers
    }

    /// Marks a delivery as failed.
    pub(super) fn nack(
        &mut self,
        id: DeliveryId,
        policy: &DeliveryPolicy,
        now: Timestamp,
    ) -> Option<(Arc<Published>, Failed)> {
        let delivery = self.in_flight.remove(&id)?;
        Some(self.fail(id, delivery, policy, now))
    }

    /// Marks deliveries as failed if their deadline has passed. They cannot be acked any more.
    pub(super) fn expire(
        &mut self,
        policy: &DeliveryPolicy,
        now: Timestamp,
    ) -> Vec<(Arc<Published>, Failed)> {
        let late = self.in_flight.extract_if(.., |_, delivery| delivery.deadline <= now);
        let late: Vec<_> = late.collect();
        late.into_iter().map(|(id, delivery)| self.fail(id, delivery, policy, now)).collect()
    }

    fn fail(
        &mut self,
        id: DeliveryId,
        delivery: InFlight,
        policy: &DeliveryPolicy,
        now: Timestamp,
    ) -> (Arc<Published>, Failed) {
        let InFlight { message, attempts, .. } = delivery;
        let failed = if self.is_push() && attempts >= policy.max_delivery_attempts {
            self.bytes -= message.bytes();
            Failed::TooOften { attempts }
        } else {
            let at_once = !self.is_push() || id < self.first_after_wake;
            let due = if at_once { now } else { after(now, policy.backoff(attempts)) };
            self.waiting.insert((due, message.number), Waiting { message: message.clone(), attempts });
            Failed::Again
        };
        (message, failed)
    }

    fn is_too_old(&self, message: &Published, policy: &DeliveryPolicy, now: Timestamp) -> bool {
        let retention = if self.is_holder() { policy.dead_letter_retention } else { policy.retention };
        after(message.publish_time, retention) <= now
    }

    /// The time within which a delivery must be acked.
    pub(super) fn ack_deadline(&self, policy: &DeliveryPolicy) -> Duration {
        match self.kind {
            Kind::Pull { ack_deadline, .. } => ack_deadline,
            Kind::Push { .. } | Kind::Holder => policy.ack_deadline,
        }
    }

    /// Makes all waiting messages due. A message that is in flight now becomes due at once if its
    /// delivery fails.
    pub(super) fn wake(&mut self, next: DeliveryId, now: Timestamp) {
        self.first_after_wake = next;
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting =
            waiting.into_iter().map(|((due, number), waiting)| ((due.min(now), number), waiting)).collect();
    }

    /// When the next message is due or the next deadline passes, if nothing changes before.
    pub(super) fn next_wakeup(&self, policy: &DeliveryPolicy) -> Option<Timestamp> {
        let next_due = self.waiting.keys().next().map(|(due, _)| *due).filter(|_| self.has_room(policy));
        let next_late = self.in_flight.values().map(|delivery| delivery.deadline).min();
        next_due.into_iter().chain(next_late).min()
    }

    /// How many messages wait, and how many are in flight.
    pub(super) fn backlog(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight.len())
    }

    /// All unacked messages, oldest first.
    pub(super) fn unacked(&self) -> VecDeque<&Arc<Published>> {
        let waiting = self.waiting.values().map(|waiting| &waiting.message);
        let mut messages: Vec<_> =
            waiting.chain(self.in_flight.values().map(|delivery| &delivery.message)).collect();
        messages.sort_by_key(|message| message.number);
        messages.into()
    }

    /// Whether there is no room for another message.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() + self.in_flight.len() >= limits::MOST_UNACKED || self.bytes >= limits::MOST_BYTES
    }

    /// Drops the oldest messages above the limits: acked messages first, then waiting ones. At
    /// least one message stays.
    pub(super) fn bound(&mut self) {
        loop {
            let acked = match &mut self.kind {
                Kind::Pull { acked: Some(acked), .. } => Some(acked),
                _ => None,
            };
            let kept = self.waiting.len() + acked.as_ref().map_or(0, |acked| acked.len());
            if kept <= 1 || kept <= limits::MOST_PULLED && self.bytes <= limits::MOST_BYTES {
                return;
            }
            let oldest = acked.and_then(BTreeMap::pop_first).map(|(_, message)| message);
            let oldest = oldest.or_else(|| self.waiting.pop_first().map(|(_, waiting)| waiting.message));
            self.bytes -= oldest.map_or(0, |message| message.bytes());
        }
    }
}
