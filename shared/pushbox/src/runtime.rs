//! What a running service consists of.

use std::{collections::BTreeMap, sync::Arc};

use axum::Router;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use crate::{
    AccessTokens, Clock, Crash, PushAuth, Random, Service, ServiceName, Timing,
    context::{Publishes, Subject},
    delivery::Delivery,
    http,
    key::Key,
    origin::Origin,
    publisher::Publisher,
    service::Handler,
    store::Store,
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
    /// Lets the service's host, or a test, kill the service.
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
        let own = self
            .routes
            .into_iter()
            .fold(Router::new(), |router, (route, handler)| router.route(route.path, handler()));
        let app = http::router(runtime, own);
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

    /// The input of a handler: the message of this delivery.
    pub(crate) fn subject_of(&self, delivery: &Delivery, key: Key, trace: Trace) -> Arc<Subject> {
        Arc::new(Subject {
            message_id: Some(delivery.message_id.clone()),
            is_replay: delivery.is_replay(),
            occurred_at: delivery.time().unwrap_or_else(|| self.now()),
            ..self.subject(key, Origin::of_event(delivery), trace)
        })
    }

    /// The input of a handler: a command.
    pub(crate) fn subject_of_command(&self, key: Key, trace: Trace) -> Arc<Subject> {
        let origin = Origin::of_command(&key);
        Arc::new(self.subject(key, origin, trace))
    }

    fn subject(&self, key: Key, origin: Origin, trace: Trace) -> Subject {
        Subject {
            service: self.0.name,
            publishes: self.0.publishes.clone(),
            key,
            message_id: None,
            is_replay: false,
            occurred_at: self.now(),
            origin,
            trace,
        }
    }
}
