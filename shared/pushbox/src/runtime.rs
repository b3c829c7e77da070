//! What a running service consists of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use futures::{StreamExt, future::try_join_all, stream};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    Clock, Failure, Path, PushAuth, Random, Service, ServiceName,
    context::Subject,
    fault, http,
    key::Key,
    message::Outgoing,
    publisher::Publisher,
    receipt::{self, Receipt},
    service::Handler,
    store::{Precondition, Query, Store, Stored, Version, Write},
    timing,
    trace::Trace,
};

/// What a service reaches the world through.
#[derive(Clone)]
pub struct Ports {
    /// Where documents are.
    pub store: Arc<dyn Store>,
    /// Where events go.
    pub publisher: Arc<dyn Publisher>,
    /// What time it is.
    pub clock: Clock,
    /// Where new ids come from.
    pub random: Random,
    /// Work that goes on after an answer was sent; a shutdown waits for it.
    pub background: TaskTracker,
}

impl Ports {
    /// These two, the machine's clock, and its source of random numbers.
    pub fn new(store: impl Store, publisher: impl Publisher) -> Self {
        let (store, publisher) = (Arc::new(store), Arc::new(publisher));
        let (clock, random) = (Clock::system(), Random::system());
        Self { store, publisher, clock, random, background: TaskTracker::new() }
    }
}

/// A service with its ports: the state of its routes.
#[derive(Clone)]
pub struct Runtime(Arc<Running>);

struct Running {
    name: ServiceName,
    handlers: BTreeMap<&'static str, Handler>,
    publishes: Arc<[&'static str]>,
    ports: Ports,
    auth: PushAuth,
}

/// How many receipts are relayed at the same time.
const RELAYS_AT_ONCE: usize = 100;

/// What `POST /relay` did.
#[derive(Default, Serialize)]
pub(crate) struct Relayed {
    pub(crate) events: usize,
    pub(crate) failed: usize,
}

impl Service {
    /// The service's routes, ready to serve, with no socket needed.
    pub fn app(self, ports: Ports, auth: PushAuth) -> Router {
        let runtime = Runtime(Arc::new(Running {
            name: self.name,
            handlers: self.handles.into_iter().map(|(name, (_, handler))| (name, handler)).collect(),
            publishes: self.publishes.keys().copied().collect(),
            ports,
            auth,
        }));
        http::router(runtime, self.routes)
    }
}

impl Runtime {
    pub(crate) fn name(&self) -> ServiceName {
        self.0.name
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.0.ports
    }

    pub(crate) fn auth(&self) -> &PushAuth {
        &self.0.auth
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.ports.clock.now()
    }

    pub(crate) fn handler(&self, event_type: &str) -> Option<&Handler> {
        self.0.handlers.get(event_type)
    }

    pub(crate) fn subject(
        &self,
        key: Key,
        message_id: Option<String>,
        occurred_at: Option<Timestamp>,
        trace: Trace,
    ) -> Subject {
        Subject {
            service: self.0.name,
            publishes: self.0.publishes.clone(),
            key,
            message_id,
            occurred_at: occurred_at.unwrap_or_else(|| self.now()),
            trace,
        }
    }

    /// Publishes what a receipt holds.
    pub(crate) async fn relay(&self, events: &[Outgoing]) -> Result<(), Failure> {
        let publish = |event: &Outgoing| self.0.ports.publisher.publish(event.clone().into());
        try_join_all(events.iter().map(publish)).await?;
        Ok(())
    }

    /// Publishes a command's events, and then clears the mark in its receipt off the caller's path.
    pub(crate) async fn relay_command(
        &self,
        path: Path,
        receipt: Receipt,
        version: Version,
    ) -> Result<(), Failure> {
        fault::point("committed").await;
        self.relay(receipt.events()).await?;
        let runtime = self.clone();
        self.0.ports.background.spawn(async move {
            // If this fails, the next `POST /relay` publishes once more and clears it then.
            if let Err(Failure::Retry(error) | Failure::Reject(error)) =
                runtime.clear(&path, receipt, version).await
            {
                tracing::debug!(error, "the receipt stays pending");
            }
        });
        Ok(())
    }

    async fn clear(&self, path: &Path, receipt: Receipt, version: Version) -> Result<(), Failure> {
        let change = receipt.without_mark().to_change()?;
        let write = Write { path: path.clone(), change, only_if: Precondition::At(version) };
        self.0.ports.store.commit(&[write]).await?;
        Ok(())
    }

    /// Publishes the events of the receipts that have been pending for [`timing::RELAY_AFTER`]. It
    /// begins at a random place among them, so that events that cannot be published do not hold back
    /// the others. It ends within the request's deadline.
    pub(crate) async fn relay_all_pending(&self) -> Result<Relayed, Failure> {
        let relayed = Relaying { runtime: self, began: Instant::now(), relayed: Mutex::default() };
        let start = self.0.ports.random.nonce();
        relayed.between(&start, None).await?;
        relayed.between("", Some(&start)).await?;
        Ok(relayed.relayed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One call of `POST /relay`.
struct Relaying<'a> {
    runtime: &'a Runtime,
    began: Instant,
    relayed: Mutex<Relayed>,
}

impl Relaying<'_> {
    /// Relays the receipts with ids after the first and up to the last.
    async fn between(&self, after: &str, until: Option<&str>) -> Result<(), Failure> {
        let mut query = Query {
            collection: Path::collection_of(self.runtime.name(), receipt::COLLECTION),
            filters: vec![(receipt::PENDING, true.into())],
            after: Some(after.to_owned()),
            limit: 200,
        };
        while self.began.elapsed() < timing::RELAY_BUDGET {
            let found = self.runtime.ports().store.list(&query).await?;
            let is_last = found.len() < query.limit;
            query.after = found.last().map(|stored| stored.id.clone());
            let ids =
                found.into_iter().take_while(|stored| until.is_none_or(|until| stored.id.as_str() <= until));
            stream::iter(ids).for_each_concurrent(RELAYS_AT_ONCE, |stored| self.relay(stored)).await;
            let is_over = until.zip(query.after.as_deref()).is_some_and(|(until, last)| last >= until);
            if is_last || is_over {
                break;
            }
        }
        Ok(())
    }

    async fn relay(&self, stored: Stored) {
        if stored.age < timing::RELAY_AFTER || self.began.elapsed() >= timing::RELAY_BUDGET {
            return;
        }
        let path = Path::new(self.runtime.name(), receipt::COLLECTION, &stored.id);
        let (events, result) = match Receipt::of(stored.fields) {
            Ok(receipt) => (receipt.events().len(), self.publish(&path, receipt, stored.version).await),
            Err(error) => (1, Err(error.into())),
        };
        let mut relayed = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => relayed.events += events,
            Err(Failure::Retry(error) | Failure::Reject(error)) => {
                tracing::warn!(error, "events stay pending");
                relayed.failed += events;
            }
        }
    }

    /// The mark is cleared before the answer: Cloud Run may give no CPU after it.
    async fn publish(&self, path: &Path, receipt: Receipt, version: Version) -> Result<(), Failure> {
        self.runtime.relay(receipt.events()).await?;
        if let Err(Failure::Retry(error) | Failure::Reject(error)) =
            self.runtime.clear(path, receipt, version).await
        {
            tracing::debug!(error, "the receipt stays pending");
        }
        Ok(())
    }
}
