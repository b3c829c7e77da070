//! What a running service consists of.

use std::{collections::BTreeMap, sync::Arc};

use axum::Router;
use futures::{StreamExt, future::try_join_all, stream};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::task::TaskTracker;

use crate::{
    Clock, Failure, PushAuth, Service, ServiceName,
    context::Subject,
    document::Path,
    fault, http,
    message::Outgoing,
    publisher::Publisher,
    receipt::{self, Receipt},
    service::Handler,
    store::{Precondition, Query, Store, Stored, Version},
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
    /// Work that goes on after an answer was sent; a shutdown waits for it.
    pub background: TaskTracker,
}

impl Ports {
    /// The machine's clock, and these two.
    pub fn new(store: impl Store, publisher: impl Publisher) -> Self {
        let (store, publisher) = (Arc::new(store), Arc::new(publisher));
        Self { store, publisher, clock: Clock::system(), background: TaskTracker::new() }
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

    /// The one time that leases and expiries are compared with.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.ports.clock.now()
    }

    pub(crate) fn handler(&self, event_type: &str) -> Option<&Handler> {
        self.0.handlers.get(event_type)
    }

    pub(crate) fn subject(&self, key: String, occurred_at: Option<Timestamp>, trace: Trace) -> Subject {
        Subject {
            service: self.0.name,
            publishes: self.0.publishes.clone(),
            key,
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

    /// Relays a producer's receipt, and then clears its mark off the caller's path.
    pub(crate) async fn relay_pending(
        &self,
        path: Path,
        receipt: Receipt,
        version: Version,
    ) -> Result<(), Failure> {
        fault::point("committed").await;
        self.relay(&receipt.events).await?;
        let runtime = self.clone();
        self.0.ports.background.spawn(async move {
            if let Err(Failure::Retry(error) | Failure::Reject(error)) =
                runtime.clear(&path, receipt, version).await
            {
                // The next `POST /relay` publishes once more and clears it then.
                tracing::debug!(error, "the receipt stays pending");
            }
        });
        Ok(())
    }

    async fn clear(&self, path: &Path, mut receipt: Receipt, version: Version) -> Result<(), Failure> {
        receipt.pending = false;
        let write = receipt.write(path, Precondition::At(version))?;
        self.0.ports.store.commit(&[write]).await?;
        Ok(())
    }

    /// Publishes the events of all receipts that are pending for longer than a request takes.
    pub(crate) async fn relay_all_pending(&self) -> Result<Relayed, Failure> {
        let mut relayed = Relayed::default();
        let mut query = Query {
            collection: Path::collection_of(self.0.name, receipt::COLLECTION),
            filters: vec![(receipt::PENDING, true.into())],
            after: None,
            limit: 100,
        };
        loop {
            let found = self.0.ports.store.list(&query).await?;
            query.after = found.last().map(|stored| stored.id.clone());
            let page_is_full = found.len() == query.limit;
            let mut relays = stream::iter(found).map(|stored| self.relay_if_due(stored)).buffered(16);
            while let Some((events, result)) = relays.next().await {
                match result {
                    Ok(()) => relayed.events += events,
                    // One event that cannot be published must not hold back the others.
                    Err(Failure::Retry(error) | Failure::Reject(error)) => {
                        tracing::warn!(error, "events stay pending");
                        relayed.failed += events;
                    }
                }
            }
            if !page_is_full {
                return Ok(relayed);
            }
        }
    }

    /// Returns how many events this was about, and whether they are published.
    async fn relay_if_due(&self, stored: Stored) -> (usize, Result<(), Failure>) {
        let receipt: Receipt = match serde_json::from_value(stored.fields.into()) {
            Ok(receipt) => receipt,
            Err(error) => return (1, Err(error.into())),
        };
        let due = receipt.created_at.saturating_add(timing::RELAY_AFTER).unwrap_or_default();
        if self.now() < due {
            return (0, Ok(()));
        }
        let (path, events) = (receipt::path(self.0.name, &receipt.key), receipt.events.len());
        (events, self.relay_pending(path, receipt, stored.version).await)
    }
}
