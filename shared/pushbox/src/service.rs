//! How a service says what it listens to, what it does and what it publishes.

use std::{collections::BTreeMap, sync::Arc};

use axum::Router;
use events::Event;
use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, Failure, Runtime, effect::Effect, json::read_object, reject};

/// A service's name, such as `crm-service`; it is the Cloud Run service's too.
pub type ServiceName = &'static str;

/// A small HTTP service that handles events.
pub struct Service {
    pub(crate) name: ServiceName,
    pub(crate) about: &'static str,
    pub(crate) public: bool,
    pub(crate) secrets: Vec<&'static str>,
    pub(crate) publishes: BTreeMap<&'static str, EventType>,
    pub(crate) handles: BTreeMap<&'static str, (EventType, Handler)>,
    pub(crate) routes: Router<Runtime>,
    pub(crate) has_routes: bool,
}

/// What the catalog knows of an event.
#[derive(Clone)]
pub(crate) struct EventType {
    pub(crate) name: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) schema: fn() -> schemars::Schema,
}

impl EventType {
    fn of<E: Event>() -> Self {
        Self { name: E::TYPE, topic: E::TOPIC, schema: || schemars::schema_for!(E) }
    }
}

/// What happens with the data of an event.
#[derive(Clone)]
pub(crate) enum Handler {
    Transaction(Step<()>),
    Effect(Effect),
}

/// A handler that runs in a transaction, with its types erased.
pub(crate) type Step<T> = Arc<dyn Fn(&[u8], Context) -> BoxFuture<'static, Result<T, Failure>> + Send + Sync>;

impl Service {
    /// A service that does nothing yet. `about` completes the sentence "This service …".
    #[must_use]
    pub fn new(name: ServiceName, about: &'static str) -> Self {
        Self {
            name,
            about,
            public: false,
            secrets: Vec::new(),
            publishes: BTreeMap::new(),
            handles: BTreeMap::new(),
            routes: Router::new(),
            has_routes: false,
        }
    }

    /// Handles events of type `E` in a transaction.
    #[must_use]
    pub fn on<E, F, Fut>(mut self, handler: F) -> Self
    where
        E: Event,
        F: Fn(E, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.handle::<E>(Handler::Transaction(step(handler)));
        self
    }

    /// Handles events of type `E` with one call to the outside, in three steps:
    ///
    /// 1. `claim`, in a transaction, says what to call for; or `None`, and that was all. What it
    ///    stages is committed together with the claim. It may publish only along with `None`.
    /// 2. `perform` makes the call, with an idempotency key that is the same on every attempt.
    /// 3. `complete`, in a transaction, records what came of it.
    ///
    /// A process that dies before `complete` has committed leaves a claim, which is taken over when
    /// its lease has run out: then `perform` is called again with the same call and key. So it
    /// happens twice where the outside does not honour idempotency keys, and only then.
    #[must_use]
    pub fn effect<E, C, O, ClaimFut, PerformFut, CompleteFut>(
        mut self,
        claim: impl Fn(E, Context) -> ClaimFut + Send + Sync + 'static,
        perform: impl Fn(C, String) -> PerformFut + Send + Sync + 'static,
        complete: impl Fn(C, O, Context) -> CompleteFut + Send + Sync + 'static,
    ) -> Self
    where
        E: Event,
        C: Serialize + DeserializeOwned + Send + 'static,
        O: Clone + Send + Sync + 'static,
        ClaimFut: Future<Output = Result<Option<C>, Failure>> + Send + 'static,
        PerformFut: Future<Output = Result<O, Failure>> + Send + 'static,
        CompleteFut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.handle::<E>(Handler::Effect(Effect::new(claim, perform, complete)));
        self
    }

    /// Declares that it publishes events of type `E`.
    #[must_use]
    pub fn publishes<E: Event>(mut self) -> Self {
        self.publishes.insert(E::TYPE, EventType::of::<E>());
        self
    }

    /// Routes beside `POST /`, `POST /relay` and `GET /healthz`.
    #[must_use]
    pub fn routes(mut self, routes: Router<Runtime>) -> Self {
        self.routes = self.routes.merge(routes);
        self.has_routes = true;
        self
    }

    /// Lets everybody reach its routes. Pushes are authenticated all the same.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Declares an environment variable that holds a secret.
    #[must_use]
    pub fn secret(mut self, variable: &'static str) -> Self {
        self.secrets.push(variable);
        self
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> ServiceName {
        self.name
    }

    fn handle<E: Event>(&mut self, handler: Handler) {
        let before = self.handles.insert(E::TYPE, (EventType::of::<E>(), handler));
        assert!(before.is_none(), "{} handles {} twice", self.name, E::TYPE);
    }
}

/// Erases the types of a handler.
pub(crate) fn step<E, T, Fut>(handler: impl Fn(E, Context) -> Fut + Send + Sync + 'static) -> Step<T>
where
    E: Event,
    T: Send + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
{
    Arc::new(move |data, cx| match decode::<E>(data) {
        Ok(event) => handler(event, cx).boxed(),
        Err(failure) => futures::future::ready(Err(failure)).boxed(),
    })
}

fn decode<E: Event>(data: &[u8]) -> Result<E, Failure> {
    read_object(data).map_err(|error| reject(format_args!("not a {}: {error}", E::TYPE)))
}
