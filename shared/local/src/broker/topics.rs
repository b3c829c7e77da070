//! The rules of topics and subscriptions, without a clock or I/O: the caller passes the time.
//!
//! The rules follow Pub/Sub's documentation: a message goes to each subscription whose filter passes
//! it and is delivered there [at least once](https://cloud.google.com/pubsub/docs/subscription-overview#default_properties)
//! until it is acked. Two features are left out: ordering keys, and the
//! [slow start](https://cloud.google.com/pubsub/docs/push#push_backoff) of push subscriptions.
//!
//! The memory is bounded, unlike Pub/Sub's. A push subscription keeps up to 50,000 messages and
//! 64 MiB; beyond that, publishing to its topic fails, and no message is lost. A pull subscription
//! (for dead letters, or created by a person) keeps up to 10,000 messages and 64 MiB; beyond that,
//! the oldest messages are dropped. [`RecentEvents`] keeps the last 2,000 events and 16 MiB.

mod by_hand;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use catalog::Catalog;
use jiff::Timestamp;
use pushbox::Message;
use pushbox::wire::attribute;

use super::{
    Delivery, DeliveryId, DeliveryPolicy, Faults, InvalidFilter, Outcome, Published, RecentEvents, Refused,
    Stage,
    filter::Filter,
    limits,
    policy::after,
    subscription::{Failed, Kind, Subscription},
};

/// All topics, subscriptions and messages.
pub struct Topics {
    policy: DeliveryPolicy,
    /// The names of each topic's subscriptions.
    topics: BTreeMap<String, Vec<String>>,
    subscriptions: BTreeMap<String, Subscription>,
    last_message: u64,
    next_delivery: DeliveryId,
    recent: RecentEvents,
    pub(crate) faults: Faults,
}

/// There is no such subscription, or it is a push subscription.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("there is no subscription {0} that messages can be pulled from")]
pub struct UnknownSubscription(pub(super) String);

/// A subscription as the REST API shows it.
pub(crate) struct SubscriptionInfo<'a> {
    pub(crate) name: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) filter: Option<&'a str>,
    pub(crate) ack_deadline: Duration,
    /// For a push subscription: the service and its dead-letter topic.
    pub(crate) pushes: Option<(&'a str, &'a str)>,
    pub(crate) retains_acked: bool,
}

/// Why a subscription cannot be created, changed or deleted.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Unchanged {
    #[error("there is no topic {0}")]
    UnknownTopic(String),
    #[error("there is no subscription {0}")]
    UnknownSubscription(String),
    #[error("there is a subscription {0} already")]
    Exists(String),
    #[error("{0} belongs to a service, not to a person")]
    NotYours(String),
    #[error("there are {} subscriptions already: delete one", limits::MOST_SUBSCRIPTIONS)]
    TooMany,
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
}

impl Topics {
    /// The catalog's topics, push subscriptions and dead-letter topics. Each dead-letter topic has
    /// a subscription of the same name that holds the messages.
    ///
    /// # Errors
    /// If Pub/Sub would refuse a filter of the catalog. The error names the filter.
    pub fn of(catalog: &Catalog, policy: DeliveryPolicy) -> Result<Self, InvalidFilter> {
        let mut topics: BTreeMap<String, Vec<String>> =
            catalog.topics.iter().map(|topic| (topic.name.clone(), Vec::new())).collect();
        let mut subscriptions = BTreeMap::new();
        let mut subscribe = |topic: &str, subscription: Subscription| {
            let name = subscription.name.to_string();
            topics.entry(topic.to_owned()).or_default().push(name.clone());
            subscriptions.insert(name, subscription);
        };
        for service in &catalog.services {
            for wired in &service.subscriptions {
                let kind = Kind::Push { dead_letter_topic: wired.dead_letter_topic.clone() };
                let subscription =
                    Subscription::new(&wired.name, &service.name, Filter::of(&wired.filter)?, kind);
                subscribe(&wired.topic, subscription);
            }
            let topic = &service.dead_letter_topic;
            subscribe(topic, Subscription::new(topic, &service.name, None, Kind::Holder));
        }
        let (last_message, next_delivery) = (0, DeliveryId(1));
        Ok(Self {
            policy,
            topics,
            subscriptions,
            last_message,
            next_delivery,
            recent: RecentEvents::default(),
            faults: Faults::default(),
        })
    }

    /// Publishes a message and returns its message ID.
    ///
    /// # Errors
    /// If Pub/Sub would refuse the message, or a subscription is full.
    pub fn publish(&mut self, message: Message, now: Timestamp) -> Result<String, Refused> {
        self.check(&message)?;
        self.enqueue(message, None, now)
    }

    /// Checks whether [`publish`](Self::publish) would accept the message.
    pub(crate) fn check(&self, message: &Message) -> Result<(), Refused> {
        limits::check(message)?;
        let names = self.topics.get(&message.topic);
        let names = names.ok_or_else(|| Refused::UnknownTopic(message.topic.clone()))?;
        let full = names.iter().filter_map(|name| self.subscriptions.get(name)).find(|subscription| {
            subscription.is_push() && subscription.is_full() && subscription.passes(&message.attributes)
        });
        full.map_or(Ok(()), |full| Err(Refused::Full(full.name.to_string())))
    }

    fn enqueue(
        &mut self,
        message: Message,
        last_failure: Option<String>,
        now: Timestamp,
    ) -> Result<String, Refused> {
        let Message { topic, attributes, data } = message;
        let Some(names) = self.topics.get(&topic) else { return Err(Refused::UnknownTopic(topic)) };
        // As in Pub/Sub, a restart does not repeat ids: receipts may outlive the process.
        let time = u64::try_from(now.as_microsecond()).unwrap_or_default();
        self.last_message = time.max(self.last_message + 1);
        let number = self.last_message;
        let message =
            Arc::new(Published { number, topic, attributes, data, publish_time: now, last_failure });

        let mut passed = Vec::new();
        let mut is_dead_letter = false;
        for name in names {
            let Some(subscription) = self.subscriptions.get_mut(name) else { continue };
            is_dead_letter |= subscription.is_holder();
            if subscription.passes(&message.attributes) {
                let copies = if subscription.is_push() { self.faults.copies() } else { 1 };
                for copy in 0..copies {
                    let pause =
                        if subscription.is_push() { self.faults.pause(number, copy) } else { Duration::ZERO };
                    subscription.add(message.clone(), after(now, pause));
                }
                passed.push(name.clone());
            }
            if !subscription.is_push() {
                subscription.bound();
            }
        }
        if is_dead_letter {
            self.recent.dead_lettered(&message);
        } else {
            self.recent.published(message.clone(), &passed);
        }
        Ok(message.id())
    }

    /// Starts all deliveries that are due. Each one needs an [`ack`](Self::ack) or a
    /// [`nack`](Self::nack) before its deadline passes.
    pub fn due(&mut self, now: Timestamp) -> Vec<Delivery> {
        self.expire(now);
        let mut due = Vec::new();
        for subscription in self.subscriptions.values_mut().filter(|subscription| subscription.is_push()) {
            while subscription.has_room(&self.policy)
                && let Some(delivery) = subscription.deliver(self.next_delivery, &self.policy, now)
            {
                self.next_delivery.0 += 1;
                due.push(delivery);
            }
        }
        for delivery in &due {
            self.recent.delivered(delivery, now);
        }
        due
    }

    /// Acks a delivery. Returns false if the ack is too late or the delivery is unknown: then the
    /// message is delivered again.
    /// <https://cloud.google.com/pubsub/docs/lease-management>
    pub fn ack(&mut self, subscription: &str, delivery: DeliveryId, now: Timestamp) -> bool {
        self.expire(now);
        let acked = self.subscriptions.get_mut(subscription).and_then(|found| found.ack(delivery));
        if let Some(message) = &acked {
            self.recent.update(message.number, subscription, |fate| {
                if fate.stage != Stage::Rejected {
                    fate.stage = Stage::Acked;
                }
            });
        }
        acked.is_some()
    }

    /// Records the outcome that the service reported for a delivery.
    pub fn outcome(&mut self, delivery: &Delivery, outcome: Outcome) {
        self.recent.update(delivery.message.number, &delivery.subscription, |fate| {
            fate.outcome = Some(outcome);
        });
    }

    /// Nacks a delivery. The message is delivered again after a pause, or forwarded as a dead
    /// letter. Returns false in the same cases as [`ack`](Self::ack).
    pub fn nack(&mut self, subscription: &str, delivery: DeliveryId, reason: &str, now: Timestamp) -> bool {
        self.expire(now);
        let found = self.subscriptions.get_mut(subscription);
        let Some((message, failed)) = found.and_then(|found| found.nack(delivery, &self.policy, now)) else {
            return false;
        };
        self.failed(subscription, &message, &failed, reason, now);
        true
    }

    fn expire(&mut self, now: Timestamp) {
        let mut late = Vec::new();
        for (name, subscription) in &mut self.subscriptions {
            late.extend(subscription.expire(&self.policy, now).into_iter().map(|late| (name.clone(), late)));
        }
        for (name, (message, failed)) in late {
            self.failed(&name, &message, &failed, "no answer within the ack deadline", now);
            self.ended(&name, message.number, now);
        }
    }

    /// Records the end of a delivery for the console.
    pub(crate) fn ended(&mut self, subscription: &str, number: u64, now: Timestamp) {
        if let Some(found) = self.subscriptions.get(subscription) {
            self.recent.ended(number, subscription, &found.service.clone(), now);
        }
    }

    fn failed(&mut self, name: &str, message: &Published, failed: &Failed, reason: &str, now: Timestamp) {
        let stage = match failed {
            Failed::Again => Stage::Retrying,
            Failed::TooOften { .. } => Stage::DeadLettered,
        };
        self.recent.update(message.number, name, |fate| {
            (fate.stage, fate.failure) = (stage, Some(reason.to_owned()));
        });
        let dead_letter_topic =
            self.subscriptions.get(name).and_then(|subscription| match &subscription.kind {
                Kind::Push { dead_letter_topic } => Some(dead_letter_topic.clone()),
                Kind::Holder | Kind::Pull { .. } => None,
            });
        if let (Failed::TooOften { attempts }, Some(topic)) = (failed, dead_letter_topic) {
            let forwarded = forwarded(message, topic, name, *attempts);
            // `of` created every dead-letter topic, so this one is known.
            let _ = self.enqueue(forwarded, Some(reason.to_owned()), now);
        }
    }

    /// Pulls from a subscription that holds dead letters, or that a person created.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn pull(
        &mut self,
        subscription: &str,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, UnknownSubscription> {
        self.expire(now);
        let mut next = self.next_delivery;
        let pulled = self.pulled_from(subscription)?;
        let mut deliveries = Vec::new();
        while deliveries.len() < most
            && let Some(delivery) = pulled.0.deliver(next, pulled.1, now)
        {
            next.0 += 1;
            deliveries.push(delivery);
        }
        self.next_delivery = next;
        for delivery in &deliveries {
            self.recent.delivered(delivery, now);
        }
        Ok(deliveries)
    }

    /// Sets a new deadline for deliveries of a pull subscription. A deadline of zero is a nack.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn modify_ack_deadline(
        &mut self,
        subscription: &str,
        deliveries: &[DeliveryId],
        deadline: Duration,
        now: Timestamp,
    ) -> Result<(), UnknownSubscription> {
        self.expire(now);
        self.pulled_from(subscription)?;
        for &id in deliveries {
            if deadline.is_zero() {
                self.nack(subscription, id, "nacked by the subscriber", now);
            } else {
                self.pulled_from(subscription)?.0.extend(id, after(now, deadline));
            }
        }
        Ok(())
    }

    fn pulled_from(
        &mut self,
        name: &str,
    ) -> Result<(&mut Subscription, &DeliveryPolicy), UnknownSubscription> {
        let found = self.subscriptions.get_mut(name).filter(|found| !found.is_push());
        found.map(|found| (found, &self.policy)).ok_or_else(|| UnknownSubscription(name.to_owned()))
    }

    /// Creates a subscription that a person pulls from.
    pub(crate) fn subscribe(
        &mut self,
        name: &str,
        topic: &str,
        filter: &str,
        ack_deadline: Duration,
        retain_acked: bool,
    ) -> Result<(), Unchanged> {
        let filter = Filter::of(filter)?;
        if self.subscriptions.contains_key(name) {
            return Err(Unchanged::Exists(name.to_owned()));
        }
        let pulled =
            self.subscriptions.values().filter(|subscription| matches!(subscription.kind, Kind::Pull { .. }));
        if pulled.count() >= limits::MOST_SUBSCRIPTIONS {
            return Err(Unchanged::TooMany);
        }
        let names = self.topics.get_mut(topic);
        names.ok_or_else(|| Unchanged::UnknownTopic(topic.to_owned()))?.push(name.to_owned());
        let kind = Kind::Pull { ack_deadline, acked: retain_acked.then(BTreeMap::new) };
        self.subscriptions.insert(name.to_owned(), Subscription::new(name, name, filter, kind));
        Ok(())
    }

    /// Deletes a subscription that a person created.
    pub(crate) fn unsubscribe(&mut self, name: &str) -> Result<(), Unchanged> {
        match self.subscriptions.get(name).map(|found| &found.kind) {
            None => return Err(Unchanged::UnknownSubscription(name.to_owned())),
            Some(Kind::Pull { .. }) => self.subscriptions.remove(name),
            Some(Kind::Push { .. } | Kind::Holder) => return Err(Unchanged::NotYours(name.to_owned())),
        };
        self.topics.values_mut().for_each(|names| names.retain(|other| other != name));
        Ok(())
    }

    /// Acks a subscription's messages from before `time`, and delivers its later messages again.
    pub(crate) fn seek(&mut self, name: &str, time: Timestamp, now: Timestamp) -> Result<(), Unchanged> {
        self.expire(now);
        let found = self.subscriptions.get_mut(name);
        let found = found.ok_or_else(|| Unchanged::UnknownSubscription(name.to_owned()))?;
        for number in found.seek(time, now) {
            self.recent.update(number, name, |fate| fate.stage = Stage::Acked);
        }
        Ok(())
    }

    /// The names of all topics.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// All subscriptions, by topic.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = SubscriptionInfo<'_>> {
        let named = self.topics.iter().flat_map(|(topic, names)| names.iter().map(move |name| (topic, name)));
        named.filter_map(|(topic, name)| {
            let found = self.subscriptions.get(name)?;
            Some(SubscriptionInfo {
                name,
                topic,
                filter: found.filter.as_ref().map(|filter| filter.text.as_str()),
                ack_deadline: found.ack_deadline(&self.policy),
                pushes: match &found.kind {
                    Kind::Push { dead_letter_topic } => Some((&found.service, dead_letter_topic)),
                    Kind::Holder | Kind::Pull { .. } => None,
                },
                retains_acked: matches!(found.kind, Kind::Pull { acked: Some(_), .. }),
            })
        })
    }

    /// Makes all messages that wait for a service due now, because the service was started again.
    pub fn wake(&mut self, service: &str, now: Timestamp) {
        for subscription in self.subscriptions.values_mut() {
            if subscription.is_push() && *subscription.service == *service {
                subscription.wake(self.next_delivery, now);
            }
        }
    }

    /// When [`due`](Self::due) must be called next, if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let pushed = self.subscriptions.values().filter(|subscription| subscription.is_push());
        pushed.filter_map(|subscription| subscription.next_wakeup(&self.policy)).min()
    }

    /// The policy for deliveries.
    #[must_use]
    pub fn policy(&self) -> &DeliveryPolicy {
        &self.policy
    }

    /// The recent events.
    #[must_use]
    pub fn recent(&self) -> &RecentEvents {
        &self.recent
    }

    /// The unacked dead letters, each with the service that it was meant for. They are sorted by
    /// service, then oldest first.
    pub fn dead_letters(&self) -> impl Iterator<Item = (&str, &Published)> {
        let holders = self.subscriptions.values().filter(|subscription| subscription.is_holder());
        holders.flat_map(|holder| {
            holder.unacked().into_iter().map(|message| (&*holder.service, message.as_ref()))
        })
    }

    /// How many messages of a subscription wait, and how many are in flight.
    #[must_use]
    pub fn backlog(&self, subscription: &str) -> (usize, usize) {
        self.subscriptions.get(subscription).map(Subscription::backlog).unwrap_or_default()
    }
}

/// <https://cloud.google.com/pubsub/docs/handling-failures#track_forwarded_messages>
fn forwarded(message: &Published, topic: String, subscription: &str, attempts: u32) -> Message {
    let added = [
        (attribute::PUBSUB_SUBSCRIPTION, subscription.to_owned()),
        (attribute::PUBSUB_SUBSCRIPTION_PROJECT, super::push::PROJECT.to_owned()),
        (attribute::PUBSUB_DELIVERY_COUNT, attempts.to_string()),
        (attribute::PUBSUB_TOPIC_PUBLISH_TIME, message.publish_time.to_string()),
    ];
    let mut attributes = message.attributes.clone();
    attributes.extend(added.map(|(name, value)| (name.to_owned(), value)));
    Message { topic, attributes, data: message.data.clone() }
}
