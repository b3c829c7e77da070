//! How a service says what it listens to, what it does and what it publishes.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    handler::Handler as RouteHandler,
    routing::{MethodRouter, get, post, put},
};
use futures::{FutureExt, future::BoxFuture};

use crate::{Context, Effect, Event, Failure, Runtime, effect::AnyEffect, http, json::read_object, reject};

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
    declared: Vec<Route>,
}

/// A route of a service, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Such as `GET`.
    pub method: &'static str,
    /// Such as `/users/{id}`.
    pub path: &'static str,
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
        Self { name: E::TYPE, topic: E::TOPIC, schema: E::schema }
    }
}

/// What happens with the data of an event.
#[derive(Clone)]
pub(crate) enum Handler {
    Transaction(Step),
    Effect(Arc<dyn AnyEffect>),
}

/// A handler that runs in a transaction, with its types erased.
pub(crate) type Step = Arc<dyn Fn(&[u8], Context) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

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
            declared: Vec::new(),
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

    /// Handles events of the effect's type with one call to the outside.
    #[must_use]
    pub fn effect<E: Effect>(mut self, effect: E) -> Self {
        self.handle::<E::Event>(Handler::Effect(Arc::new(effect)));
        self
    }

    /// Declares that it publishes events of type `E`.
    #[must_use]
    pub fn publishes<E: Event>(mut self) -> Self {
        self.publishes.insert(E::TYPE, EventType::of::<E>());
        self
    }

    /// Answers `GET` at this path.
    #[must_use]
    pub fn get<T: 'static>(self, path: &'static str, handler: impl RouteHandler<T, Runtime>) -> Self {
        self.route("GET", path, get(handler))
    }

    /// Answers `POST` at this path.
    #[must_use]
    pub fn post<T: 'static>(self, path: &'static str, handler: impl RouteHandler<T, Runtime>) -> Self {
        self.route("POST", path, post(handler))
    }

    /// Answers `PUT` at this path.
    #[must_use]
    pub fn put<T: 'static>(self, path: &'static str, handler: impl RouteHandler<T, Runtime>) -> Self {
        self.route("PUT", path, put(handler))
    }

    fn route(mut self, method: &'static str, path: &'static str, handler: MethodRouter<Runtime>) -> Self {
        self.declared.push(Route { method, path });
        self.routes(Router::new().route(path, handler))
    }

    /// Its own routes as they were declared, and those that every service has. What came by
    /// [`routes`](Self::routes) is not among them: axum does not tell.
    #[must_use]
    pub fn declared_routes(&self) -> Vec<Route> {
        let every = http::ROUTES.map(|(method, path)| Route { method, path });
        self.declared.iter().cloned().chain(every).collect()
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
fn step<E, Fut>(handler: impl Fn(E, Context) -> Fut + Send + Sync + 'static) -> Step
where
    E: Event,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    Arc::new(move |data, cx| match decode::<E>(data) {
        Ok(event) => handler(event, cx).boxed(),
        Err(failure) => futures::future::ready(Err(failure)).boxed(),
    })
}

pub(crate) fn decode<E: Event>(data: &[u8]) -> Result<E, Failure> {
    read_object(data).map_err(|error| reject(format_args!("not a {}: {error}", E::TYPE)))
}
