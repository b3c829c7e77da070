//! Pub/Sub in this process.
//!
//! [`Topics`] implements the rules, without a clock or a socket. [`Broker`] is the handle that
//! services publish through. `push` is the loop that delivers over HTTP.

mod faults;
mod filter;
mod limits;
mod policy;
pub(crate) mod push;
mod recent;
mod subscription;
#[cfg(test)]
mod tests;
mod topics;

pub(crate) use faults::Faults;
pub use filter::{InvalidFilter, passes};
pub use limits::Refused;
pub(crate) use limits::{MOST_BYTES, MOST_PULLED, MOST_UNACKED};
pub use policy::DeliveryPolicy;
pub(crate) use policy::after;
pub use recent::{Attempt, Fate, Outcome, RecentEvent, RecentEvents, Stage};
pub(crate) use recent::{MOST_ATTEMPTS, MOST_EVENT_BYTES, MOST_EVENTS, event_type};
pub use subscription::{Delivery, DeliveryId, Published};
pub(crate) use topics::{SubscriptionInfo, Unchanged};
pub use topics::{Topics, UnknownSubscription};

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use catalog::Catalog;
use jiff::Timestamp;
use pushbox::{
    Message,
    publisher::{PublishError, Publisher},
};
use tokio::sync::Notify;

/// The topics and subscriptions of a catalog. A clone is another handle to the same broker.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    topics: Mutex<Topics>,
    /// Notified when the next delivery may be due earlier than before.
    changed: Notify,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Broker {
    /// A broker with the topics of the catalog, all empty.
    ///
    /// # Errors
    /// If Pub/Sub would refuse a filter of the catalog. The error names the filter.
    pub fn new(catalog: &Catalog, policy: DeliveryPolicy) -> Result<Self, InvalidFilter> {
        Self::with_clock(catalog, policy, Timestamp::now)
    }

    /// Like [`Broker::new`], with a clock that a test controls.
    ///
    /// # Errors
    /// The same as for [`Broker::new`].
    pub fn with_clock(
        catalog: &Catalog,
        policy: DeliveryPolicy,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, InvalidFilter> {
        let topics = Mutex::new(Topics::of(catalog, policy)?);
        Ok(Self(Arc::new(Shared { topics, changed: Notify::new(), now: Box::new(now) })))
    }

    /// Reads or changes the topics at the present time. Messages that become due are pushed at
    /// once.
    pub fn with<T>(&self, act: impl FnOnce(&mut Topics, Timestamp) -> T) -> T {
        let result = self.act(act);
        self.0.changed.notify_one();
        result
    }

    /// Like [`Broker::with`], but does not wake the push loop.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut Topics, Timestamp) -> T) -> T {
        // No code panics between two changes of the topics, so poisoned topics are still
        // consistent.
        act(&mut self.0.topics.lock().unwrap_or_else(PoisonError::into_inner), (self.0.now)())
    }
}

#[async_trait]
impl Publisher for Broker {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let topic = message.topic.clone();
        self.with(|topics, now| topics.publish(message, now))
            .map_err(|refused| PublishError { topic, reason: refused.to_string() })
    }
}
