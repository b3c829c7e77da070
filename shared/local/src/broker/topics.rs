//! The rules of topics and subscriptions, with no clock and no I/O: every method is told the time.
//!
//! They are Pub/Sub's documented ones: a message goes to each subscription whose filter passes it
//! and is delivered there [at least once](https://cloud.google.com/pubsub/docs/subscription-overview#default_properties)
//! until it is acked. What is left out: ordering keys, and the
//! [slow start](https://cloud.google.com/pubsub/docs/push#push_backoff) of push subscriptions.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use pushbox::{Catalog, Message};

use super::{
    Delivery, DeliveryId, DeliveryPolicy, InvalidFilter, Published, RecentEvents, Refused, Stage,
    filter::Filter,
    limits,
    subscription::{Failed, Kind, Subscription},
};

/// So many messages a holder of dead letters keeps; beyond that the oldest are dropped. Pub/Sub has
/// no such limit. What waits for a service is not limited here either.
const MOST_DEAD_LETTERS: usize = 10_000;

/// All topics, subscriptions and messages.
pub struct Topics {
    policy: DeliveryPolicy,
    /// By topic, the names of its subscriptions.
    topics: BTreeMap<String, Vec<String>>,
    subscriptions: BTreeMap<String, Subscription>,
    last_message: u64,
    next_delivery: DeliveryId,
    recent: RecentEvents,
}

/// There is no such subscription, or messages are pushed to it and cannot be pulled.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("there is no subscription {0} that messages can be pulled from")]
pub struct UnknownSubscription(pub(super) String);

impl Topics {
    /// The catalog's topics, push subscriptions and dead-letter topics. Each of the latter has a
    /// subscription of the same name that holds the messages.
    ///
    /// # Errors
    /// Says which filter of the catalog is not one that Pub/Sub takes.
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
                let filter = Filter::parse(&wired.filter)?;
                let kind = Kind::Push { dead_letter_topic: wired.dead_letter_topic.clone() };
                let subscription = Subscription::new(&wired.name, &service.name, Some(filter), kind);
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
        })
    }

    /// Publishes a message and returns the id that it was given.
    ///
    /// # Errors
    /// Where Pub/Sub would refuse it.
    pub fn publish(&mut self, message: Message, now: Timestamp) -> Result<String, Refused> {
        limits::check(&message)?;
        self.enqueue(message, None, now)
    }

    fn enqueue(
        &mut self,
        message: Message,
        last_failure: Option<String>,
        now: Timestamp,
    ) -> Result<String, Refused> {
        let Message { topic, attributes, data } = message;
        let Some(names) = self.topics.get(&topic) else { return Err(Refused::UnknownTopic(topic)) };
        // Like Pub/Sub's, these ids do not come again after a restart: receipts may outlive it.
        let time = u64::try_from(now.as_microsecond()).unwrap_or_default();
        self.last_message = time.max(self.last_message + 1);
        let number = self.last_message;
        let message =
            Arc::new(Published { number, topic, attributes, data, publish_time: now, last_failure });

        let mut passed = Vec::new();
        let mut is_dead_letter = false;
        for name in names {
            let Some(subscription) = self.subscriptions.get_mut(name) else { continue };
            if subscription.filter.as_ref().is_none_or(|filter| filter.passes(&message.attributes)) {
                subscription.add(message.clone(), now);
                passed.push(name.clone());
            }
            if !subscription.is_push() {
                is_dead_letter = true;
                subscription.bound(MOST_DEAD_LETTERS);
            }
        }
        if is_dead_letter {
            self.recent.parked(&message);
        } else {
            self.recent.published(&message, &passed);
        }
        Ok(message.id())
    }

    /// What is to be pushed now. Each delivery must be followed by an [`ack`](Self::ack) or a
    /// [`nack`](Self::nack), or its deadline passes.
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
            self.recent.update(delivery.message.number, &delivery.subscription, |fate| {
                (fate.stage, fate.attempts) = (Stage::Delivered, delivery.attempt);
            });
        }
        due
    }

    /// The subscriber is done with the message. Returns false for a delivery that came too late or
    /// is not known: then the message is delivered again.
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

    /// The delivery failed. The message is delivered again after a pause, or forwarded as a dead
    /// letter. Returns false as [`ack`](Self::ack) does.
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
                Kind::Holder => None,
            });
        if let (Failed::TooOften { attempts }, Some(topic)) = (failed, dead_letter_topic) {
            let forwarded = forwarded(message, topic, name, *attempts);
            // `of` made every dead-letter topic, so this one is known.
            let _ = self.enqueue(forwarded, Some(reason.to_owned()), now);
        }
    }

    /// Pulls from a subscription that holds dead letters.
    ///
    /// # Errors
    /// When there is no such subscription.
    pub fn pull(
        &mut self,
        subscription: &str,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, UnknownSubscription> {
        self.expire(now);
        let holder = self.subscriptions.get_mut(subscription).filter(|found| !found.is_push());
        let holder = holder.ok_or_else(|| UnknownSubscription(subscription.to_owned()))?;
        let deliver = || {
            let delivery = holder.deliver(self.next_delivery, &self.policy, now);
            self.next_delivery.0 += 1;
            delivery
        };
        Ok(std::iter::from_fn(deliver).take(most).collect())
    }

    /// Makes all that waits for a service due now: it has been started again.
    pub fn wake(&mut self, service: &str, now: Timestamp) {
        for subscription in self.subscriptions.values_mut() {
            if subscription.is_push() && *subscription.service == *service {
                subscription.wake(self.next_delivery, now);
            }
        }
    }

    /// When [`due`](Self::due) will have something to do, if nothing else happens until then.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let pushed = self.subscriptions.values().filter(|subscription| subscription.is_push());
        pushed.filter_map(|subscription| subscription.next_wakeup(&self.policy)).min()
    }

    /// How deliveries are made.
    #[must_use]
    pub fn policy(&self) -> &DeliveryPolicy {
        &self.policy
    }

    /// What was published lately.
    #[must_use]
    pub fn recent(&self) -> &RecentEvents {
        &self.recent
    }

    /// The dead letters that nobody has acked, with the service that they were meant for, by
    /// service and from old to new.
    pub fn dead_letters(&self) -> impl Iterator<Item = (&str, &Published)> {
        let holders = self.subscriptions.values().filter(|subscription| !subscription.is_push());
        holders.flat_map(|holder| {
            holder.unacked().into_iter().map(|message| (&*holder.service, message.as_ref()))
        })
    }

    /// How many messages of a subscription wait and how many are under way.
    #[must_use]
    pub fn backlog(&self, subscription: &str) -> (usize, usize) {
        self.subscriptions.get(subscription).map(Subscription::backlog).unwrap_or_default()
    }
}

/// <https://cloud.google.com/pubsub/docs/handling-failures#track_forwarded_messages>
fn forwarded(message: &Published, topic: String, subscription: &str, attempts: u32) -> Message {
    let added = [
        ("Subscription", subscription.to_owned()),
        ("SubscriptionProject", super::push::PROJECT.to_owned()),
        ("DeliveryCount", attempts.to_string()),
        ("TopicPublishTime", message.publish_time.to_string()),
    ];
    let mut attributes = message.attributes.clone();
    attributes.extend(added.map(|(name, value)| (format!("CloudPubSubDeadLetterSource{name}"), value)));
    Message { topic, attributes, data: message.data.clone() }
}
