//! What a running service consists of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use futures::{
    StreamExt,
    future::{join, join_all, try_join_all},
    stream,
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    AccessTokens, Clock, Crash, Failure, Path, PushAuth, Random, Service, ServiceName, Timing,
    context::{Publishes, Subject},
    http,
    key::Key,
    message::{Outbox, Outgoing},
    origin::Origin,
    publisher::Publisher,
    receipt::{self, Receipt},
    service::Handler,
    store::{Precondition, Query, RECEIPTS, Store, Stored, Version, Write},
    timers::Timers,
    trace::Trace,
};

/// Everything through which a service reaches the world.
#[derive(Clone)]
#[non_exhaustive]
pub struct Ports {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The topics.
    pub publisher: Arc<dyn Publisher>,
    /// The timers. A service that [`delays`](Service::delays) no event needs none.
    pub timers: Option<Arc<dyn Timers>>,
    /// The source of time.
    pub clock: Clock,
    /// The source of new ids.
    pub random: Random,
    /// Work that continues after a response was sent. A shutdown waits for it.
    pub background: TaskTracker,
    /// The deadlines.
    pub timing: Timing,
    /// Whose access tokens [`SignedIn`](crate::SignedIn) accepts. By default it accepts none.
    pub access_tokens: AccessTokens,
    /// The end of the service, if its host or a test can kill it.
    pub crash: Crash,
}

impl Ports {
    /// Uses this store and publisher, no timers, the machine's clock and random numbers, and the default timing.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, publisher: Arc<dyn Publisher>) -> Self {
        Self {
            store,
            publisher,
            timers: None,
            clock: Clock::system(),
            random: Random::system(),
            background: TaskTracker::new(),
            timing: Timing::DEFAULT,
            access_tokens: AccessTokens::none(),
            crash: Crash::default(),
        }
    }
}

/// A service with its ports: the state of its routes.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    name: ServiceName,
    handlers: BTreeMap<&'static str, Handler>,
    publishes: Arc<Publishes>,
    ports: Ports,
    auth: PushAuth,
}

/// The number of receipts that are relayed at the same time.
const RELAYS_AT_ONCE: usize = 100;

/// The number of receipts that are listed at once.
const RELAY_PAGE: usize = 200;

/// The answer to `POST /relay`.
#[derive(Default, Serialize)]
pub(crate) struct Relayed {
    pub(crate) events: usize,
    pub(crate) failed: usize,
}

impl Service {
    /// The service as a router, ready to serve. It needs no socket.
    ///
    /// # Panics
    /// If the ports' timing does not fit together, or if the service delays events and the ports have no timers.
    pub fn app(self, ports: Ports, auth: PushAuth) -> Router {
        if let Err(rule) = ports.timing.check() {
            panic!("the timing of {} does not fit together: {rule}", self.name);
        }
        let (delays, cookies) = (self.delays, self.cookies);
        let origins = self.origins.filter(|_| self.public);
        assert!(
            delays.is_empty() || ports.timers.is_some(),
            "{} delays events, so it needs timers",
            self.name
        );
        let runtime = Runtime(Arc::new(Inner {
            name: self.name,
            handlers: self.handles.into_iter().map(|(name, (_, handler))| (name, handler)).collect(),
            publishes: Arc::new(Publishes { now: self.publishes.keys().copied().collect(), later: delays }),
            ports,
            auth,
        }));
        let app = http::router(runtime, self.router);
        match origins {
            Some(origins) => origins.allow(app, cookies),
            None => app,
        }
    }
}

impl Runtime {
    pub(crate) fn name(&self) -> ServiceName {
        self.0.name
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.0.ports
    }

    pub(crate) fn timing(&self) -> &Timing {
        &self.0.ports.timing
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
        is_replay: bool,
        occurred_at: Option<Timestamp>,
        origin: Origin,
        trace: Trace,
    ) -> Arc<Subject> {
        Arc::new(Subject {
            service: self.0.name,
            publishes: self.0.publishes.clone(),
            key,
            message_id,
            is_replay,
            occurred_at: occurred_at.unwrap_or_else(|| self.now()),
            origin,
            trace,
        })
    }

    /// Publishes the events of an outbox, sets its timers, and cancels timers. A timer that cannot be cancelled fires,
    /// and its handler changes nothing.
    pub(crate) async fn relay(&self, outbox: &Outbox) -> Result<(), Failure> {
        let cancel = async |id: &String| {
            let Some(timers) = &self.0.ports.timers else { return };
            if let Err(error) = timers.cancel(self.0.name, id).await {
                tracing::warn!(%error, "a timer is not cancelled");
            }
        };
        let send = try_join_all(outbox.events.iter().map(|event| self.send(event)));
        let (sent, _) = join(send, join_all(outbox.cancels.iter().map(cancel))).await;
        sent.map(drop)
    }

    async fn send(&self, event: &Outgoing) -> Result<(), Failure> {
        let Ports { publisher, timers, .. } = &self.0.ports;
        match (event.timer(self.0.name), timers) {
            (None, _) => publisher.publish(event.clone().into()).await.map(drop)?,
            (Some(timer), Some(timers)) => timers.set(timer).await?,
            // A receipt of an earlier release, which delayed events.
            (Some(_), None) => return Err(Failure::Retry("there are no timers to set".to_owned())),
        }
        Ok(())
    }

    /// Publishes the events of a command. Then it clears the mark in the receipt, in the background.
    pub(crate) async fn relay_command(
        &self,
        path: Path,
        receipt: Receipt,
        version: Version,
    ) -> Result<(), Failure> {
        self.0.ports.crash.point("committed").await;
        self.relay(receipt.outbox()).await?;
        let runtime = self.clone();
        self.0.ports.background.spawn(async move { runtime.clear(&path, receipt, version).await });
        Ok(())
    }

    /// Clears the mark of a receipt whose events are published. If this fails, the next `POST /relay`
    /// publishes them once more and clears it.
    async fn clear(&self, path: &Path, receipt: Receipt, version: Version) {
        let clear = async {
            let change = receipt.without_mark().to_change()?;
            let write = Write { path: path.clone(), change, only_if: Precondition::At(version) };
            self.0.ports.store.commit(&[write]).await?;
            Ok(())
        };
        if let Err(Failure::Retry(error) | Failure::Reject(error)) = clear.await {
            tracing::debug!(error, "the receipt stays pending");
        }
    }

    /// Publishes the events of the receipts that have been pending for
    /// [`relay_after`](Timing::relay_after). It ends within the request's deadline.
    pub(crate) async fn relay_all_pending(&self) -> Result<Relayed, Failure> {
        let relaying = Relaying { runtime: self, began: Instant::now(), relayed: Mutex::default() };
        let (first, is_last) = relaying.page("").await?;
        if is_last {
            relaying.relay_each(first).await;
        } else {
            // It begins at a random place, so that events that cannot be published do not hold back the
            // others.
            let start = self.0.ports.random.nonce();
            relaying.between(&start, None).await?;
            relaying.between("", Some(&start)).await?;
        }
        Ok(relaying.relayed.into_inner().unwrap_or_else(PoisonError::into_inner))
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
        let mut after = after.to_owned();
        while !self.is_late() {
            let (mut found, is_last) = self.page(&after).await?;
            if let Some(last) = found.last() {
                after.clone_from(&last.id);
            }
            found.retain(|stored| until.is_none_or(|until| stored.id.as_str() <= until));
            self.relay_each(found).await;
            if is_last || until.is_some_and(|until| after.as_str() >= until) {
                break;
            }
        }
        Ok(())
    }

    /// Lists pending receipts, and says whether there are no more.
    async fn page(&self, after: &str) -> Result<(Vec<Stored>, bool), Failure> {
        let query = Query {
            collection: Path::collection_of(self.runtime.name(), RECEIPTS),
            filters: vec![(receipt::PENDING, true.into())],
            after: Some(after.to_owned()),
            limit: RELAY_PAGE,
        };
        let found = self.runtime.ports().store.list(&query).await?;
        let is_last = found.len() < query.limit;
        Ok((found, is_last))
    }

    async fn relay_each(&self, receipts: Vec<Stored>) {
        stream::iter(receipts).for_each_concurrent(RELAYS_AT_ONCE, |stored| self.relay(stored)).await;
    }

    async fn relay(&self, stored: Stored) {
        if stored.age < self.runtime.timing().relay_after || self.is_late() {
            return;
        }
        let path = Path::new(self.runtime.name(), RECEIPTS, &stored.id);
        let (events, result) = match Receipt::of(stored.fields) {
            Ok(receipt) => {
                (receipt.outbox().events.len(), self.publish(&path, receipt, stored.version).await)
            }
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

    /// Clears the mark before the response is sent, because Cloud Run may give no CPU after it.
    async fn publish(&self, path: &Path, receipt: Receipt, version: Version) -> Result<(), Failure> {
        self.runtime.relay(receipt.outbox()).await?;
        self.runtime.clear(path, receipt, version).await;
        Ok(())
    }

    fn is_late(&self) -> bool {
        self.began.elapsed() >= self.runtime.timing().relay_budget
    }
}
