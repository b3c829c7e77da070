//! A broker that keeps Pub/Sub's promise, at least once, and not a bit more.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use pushbox::{
    Catalog, Message,
    publisher::{PublishError, Publisher},
};
use tokio::sync::Notify;

/// What is published and not yet on its way to a service.
#[derive(Clone, Default)]
pub(crate) struct Broker {
    state: Arc<Mutex<State>>,
    published: Arc<Notify>,
}

#[derive(Default)]
struct State {
    catalog: Option<Catalog>,
    published: u64,
    waiting: VecDeque<Waiting>,
    dead_letters: Vec<Message>,
}

/// A message that a service has yet to handle.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) service: String,
    pub(crate) subscription: String,
    pub(crate) id: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) data: Vec<u8>,
}

impl Broker {
    pub(crate) fn wire(&self, catalog: Catalog) {
        self.state().catalog = Some(catalog);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accept(&self, message: Message) -> String {
        let state = &mut *self.state();
        state.published += 1;
        let id = state.published.to_string();
        let services = state.catalog.iter().flat_map(|catalog| &catalog.services);
        if services.clone().any(|service| service.dead_letter_topic == message.topic) {
            state.dead_letters.push(message);
            return id;
        }
        let event_type = message.attributes.get("ce-type");
        let passes = |handles: &[String]| event_type.is_none_or(|name| handles.contains(name));
        for service in services {
            for subscription in &service.subscriptions {
                if subscription.topic == message.topic && passes(&subscription.handles) {
                    state.waiting.push_back(Waiting {
                        service: service.name.clone(),
                        subscription: subscription.name.clone(),
                        id: id.clone(),
                        attributes: message.attributes.clone(),
                        data: message.data.to_vec(),
                    });
                }
            }
        }
        self.published.notify_one();
        id
    }

    /// The next message to deliver.
    pub(crate) fn take(&self) -> Option<Waiting> {
        self.state().waiting.pop_front()
    }

    /// Waits until there may be another one.
    pub(crate) async fn published(&self) {
        self.published.notified().await;
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.state().waiting.is_empty()
    }

    pub(crate) fn dead_letters(&self) -> Vec<Message> {
        self.state().dead_letters.clone()
    }
}

#[async_trait]
impl Publisher for Broker {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        Ok(self.accept(message))
    }
}
