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

/// A message as its topic has it.
#[derive(Debug)]
pub struct Published {
    pub(crate) number: u64,
    /// The topic's short name.
    pub topic: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its data.
    pub data: Bytes,
    /// When it was published.
    pub publish_time: Timestamp,
    /// For a message that was forwarded as a dead letter: what became of its last delivery.
    pub(crate) last_failure: Option<String>,
}

impl Published {
    /// The id that it was given.
    #[must_use]
    pub fn id(&self) -> String {
        self.number.to_string()
    }

    /// How much of the broker's room it takes.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.data.len() + attributes.sum::<usize>()
    }
}

/// One delivery of one message. A message that is delivered again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId(pub(crate) u64);

/// A message on its way to a subscriber, who is to ack or nack it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Says which delivery is acked.
    pub id: DeliveryId,
    /// The subscription's short name.
    pub subscription: Arc<str>,
    /// Whose subscription it is.
    pub service: Arc<str>,
    /// Counted from 1.
    pub attempt: u32,
    /// What is delivered.
    pub message: Arc<Published>,
}

pub(super) struct Subscription {
    pub(super) name: Arc<str>,
    /// Whose messages these are; of a subscription that a person made, its own name.
    pub(super) service: Arc<str>,
    pub(super) filter: Option<Filter>,
    pub(super) kind: Kind,
    /// Of all messages that are kept.
    bytes: usize,
    /// By the time from which they may be delivered, then by age.
    waiting: BTreeMap<(Timestamp, u64), Waiting>,
    in_flight: BTreeMap<DeliveryId, InFlight>,
    /// Deliveries before this one began before the subscriber was said to be back.
    woken_at: DeliveryId,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Messages are pushed to the service, and those that it does not ack go to the topic.
    Push { dead_letter_topic: String },
    /// Dead letters are held until somebody pulls them.
    Holder,
    /// A person made it, to watch what is published.
    Pull {
        ack_deadline: Duration,
        /// What is acked is kept, so that [`seek`](Subscription::seek) can bring it back.
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

/// What became of a message whose delivery failed.
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
            woken_at: DeliveryId(0),
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

    /// The message is done with.
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

    /// Gives a delivery another deadline.
    pub(super) fn extend(&mut self, id: DeliveryId, deadline: Timestamp) {
        if let Some(delivery) = self.in_flight.get_mut(&id) {
            delivery.deadline = deadline;
        }
    }

    /// Acks what was published before `time`, and delivers again what was published since, as far as
    /// it is still kept. Returns the numbers of what it acked.
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

    /// The delivery failed.
    pub(super) fn nack(
        &mut self,
        id: DeliveryId,
        policy: &DeliveryPolicy,
        now: Timestamp,
    ) -> Option<(Arc<Published>, Failed)> {
        let delivery = self.in_flight.remove(&id)?;
        Some(self.fail(id, delivery, policy, now))
    }

    /// Deliveries whose deadline has passed have failed too. They cannot be acked any more.
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
            let at_once = !self.is_push() || id < self.woken_at;
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

    /// In which time a delivery must be acked.
    pub(super) fn ack_deadline(&self, policy: &DeliveryPolicy) -> Duration {
        match self.kind {
            Kind::Pull { ack_deadline, .. } => ack_deadline,
            Kind::Push { .. } | Kind::Holder => policy.ack_deadline,
        }
    }

    /// Makes all that waits due, and what is under way will be at once if it fails.
    pub(super) fn wake(&mut self, next: DeliveryId, now: Timestamp) {
        self.woken_at = next;
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting =
            waiting.into_iter().map(|((due, number), waiting)| ((due.min(now), number), waiting)).collect();
    }

    /// When there will be something to do, if nothing changes until then.
    pub(super) fn next_wakeup(&self, policy: &DeliveryPolicy) -> Option<Timestamp> {
        let next_due = self.waiting.keys().next().map(|(due, _)| *due).filter(|_| self.has_room(policy));
        let next_late = self.in_flight.values().map(|delivery| delivery.deadline).min();
        next_due.into_iter().chain(next_late).min()
    }

    /// How many messages wait, and how many are under way.
    pub(super) fn backlog(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight.len())
    }

    /// All messages that are not acked, from old to new.
    pub(super) fn unacked(&self) -> VecDeque<&Arc<Published>> {
        let waiting = self.waiting.values().map(|waiting| &waiting.message);
        let mut messages: Vec<_> =
            waiting.chain(self.in_flight.values().map(|delivery| &delivery.message)).collect();
        messages.sort_by_key(|message| message.number);
        messages.into()
    }

    /// There is room for no other message.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() + self.in_flight.len() >= limits::MOST_UNACKED || self.bytes >= limits::MOST_BYTES
    }

    /// Drops what is kept after its ack, and then the oldest of what waits, as far as there is too
    /// much of it. At least one message stays.
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
