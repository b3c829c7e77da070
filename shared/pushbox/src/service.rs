//! Services: what each one handles, publishes and answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    handler::Handler as RouteHandler,
    routing::{MethodRouter, delete, get, post, put},
};
use futures::{FutureExt, future::BoxFuture};

use crate::{
    Context, Document, Effect, Event, Failure, Origins, Runtime, effect::AnyEffect, http, json::read_object,
    reject, signed_in::Revoked,
};

/// The name of a service, such as `crm-service`. The Cloud Run service has the same name.
pub type ServiceName = &'static str;

/// A service that handles events and answers requests.
pub struct Service {
    pub(crate) name: ServiceName,
    pub(crate) about: &'static str,
    pub(crate) public: bool,
    pub(crate) signed_in: bool,
    /// Whether it keeps cookies in browsers.
    pub(crate) cookies: bool,
    pub(crate) origins: Option<Origins>,
    pub(crate) secrets: BTreeSet<&'static str>,
    /// The collections of documents that expire.
    pub(crate) expires: BTreeSet<&'static str>,
    pub(crate) publishes: BTreeMap<&'static str, EventType>,
    /// The types that it may publish at a later time.
    pub(crate) delays: BTreeSet<&'static str>,
    pub(crate) handles: BTreeMap<&'static str, (EventType, Handler)>,
    /// Its own routes, with their handlers.
    pub(crate) routes: Vec<(Route, MakeHandler)>,
}

/// Services that share a purpose and are deployed together.
pub struct System {
    /// Its name, such as `signup`.
    pub name: &'static str,
    /// Its services.
    pub services: Vec<Service>,
}

/// What a service declares: the input of the catalog.
#[non_exhaustive]
pub struct Declaration {
    /// The service's name.
    pub name: ServiceName,
    /// Completes the sentence "This service …".
    pub about: &'static str,
    /// Whether everybody may reach its own routes.
    pub public: bool,
    /// Whether it verifies the access tokens of users.
    pub signed_in: bool,
    /// The environment variables that hold secrets.
    pub secrets: Vec<&'static str>,
    /// The collections whose documents the store may delete after the time in their field `expireAt`.
    pub expires: Vec<&'static str>,
    /// The events that it publishes.
    pub publishes: Vec<EventType>,
    /// The types of those that it may publish at a later time.
    pub delays: Vec<&'static str>,
    /// The events that it handles.
    pub handles: Vec<EventType>,
    /// Its own routes.
    pub routes: Vec<Route>,
}

/// A route of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method, such as `GET`.
    pub method: &'static str,
    /// The path, such as `/users/{id}`.
    pub path: &'static str,
}

/// A type of event, with the type of its data erased.
#[derive(Clone)]
pub struct EventType {
    /// [`Event::TYPE`].
    pub name: &'static str,
    /// [`Event::TOPIC`].
    pub topic: &'static str,
    /// [`Event::schema`].
    pub schema: fn() -> schemars::Schema,
}

impl Declaration {
    /// Whether its own routes are for operators: people whom Cloud Run admits by name. Everybody else may call only
    /// a public service.
    #[must_use]
    pub fn is_for_operators(&self) -> bool {
        !self.public && !self.routes.is_empty()
    }
}

impl EventType {
    fn of<E: Event>() -> Self {
        Self { name: E::TYPE, topic: E::TOPIC, schema: E::schema }
    }
}

/// The handler of an event.
#[derive(Clone)]
pub(crate) enum Handler {
    Transaction(Step),
    Effect(Arc<dyn AnyEffect>),
}

/// A handler that runs in a transaction, with its types erased.
pub(crate) type Step = Arc<dyn Fn(&[u8], Context) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// Makes the handler of a route. A process starts one service, and the routes of the others are never made.
pub(crate) type MakeHandler = Box<dyn FnOnce() -> MethodRouter<Runtime> + Send + Sync>;

impl Service {
    /// A service without handlers and routes. `about` completes the sentence "This service …".
    #[must_use]
    pub fn new(name: ServiceName, about: &'static str) -> Self {
        Self {
            name,
            about,
            public: false,
            signed_in: false,
            cookies: false,
            origins: None,
            secrets: BTreeSet::new(),
            expires: BTreeSet::new(),
            publishes: BTreeMap::new(),
            delays: BTreeSet::new(),
            handles: BTreeMap::new(),
            routes: Vec::new(),
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

    /// Handles events of type `E::Event` with one call to the outside.
    #[must_use]
    pub fn effect<E: Effect>(mut self, effect: E) -> Self {
        self.secrets.extend(E::SECRETS);
        self.handle::<E::Event>(Handler::Effect(Arc::new(effect)));
        self
    }

    /// Declares that it publishes events of type `E`.
    #[must_use]
    pub fn publishes<E: Event>(mut self) -> Self {
        self.publishes.insert(E::TYPE, EventType::of::<E>());
        self
    }

    /// Declares that it publishes events of type `E`, also [at a later time](Context::publish_at).
    #[must_use]
    pub fn delays<E: Event>(mut self) -> Self {
        self.delays.insert(E::TYPE);
        self.publishes::<E>()
    }

    /// Answers `GET` at this path.
    #[must_use]
    pub fn get<T: 'static>(self, path: &'static str, handler: impl RouteHandler<T, Runtime>) -> Self {
        self.route("GET", path, || get(handler))
    }

    /// Answers `POST` at this path.
    #[must_use]
    pub fn post<T: 'static>(self, path: &'static str, handler: impl RouteHandler<T, Runtime>) -> Self {
        self.route("POST", path, || post(handler))
    }

    /// Answers `PUT` at this path.
    #[must_use]
    pub fn put<T: 'static>(self, path: &'static str, handler: impl RouteHandler<T, Runtime>) -> Self {
        self.route("PUT", path, || put(handler))
    }

    /// Answers `DELETE` at this path.
    #[must_use]
    pub fn delete<T: 'static>(self, path: &'static str, handler: impl RouteHandler<T, Runtime>) -> Self {
        self.route("DELETE", path, || delete(handler))
    }

    fn route(
        mut self,
        method: &'static str,
        path: &'static str,
        handler: impl FnOnce() -> MethodRouter<Runtime> + Send + Sync + 'static,
    ) -> Self {
        self.routes.push((Route { method, path }, Box::new(handler)));
        self
    }

    /// The declarations of this service.
    #[must_use]
    pub fn declaration(&self) -> Declaration {
        Declaration {
            name: self.name,
            about: self.about,
            public: self.public,
            signed_in: self.signed_in,
            secrets: self.secrets.iter().copied().collect(),
            expires: self.expires.iter().copied().collect(),
            publishes: self.publishes.values().cloned().collect(),
            delays: self.delays.iter().copied().collect(),
            handles: self.handles.values().map(|(event, _)| event.clone()).collect(),
            routes: self.own_routes().collect(),
        }
    }

    /// Its own routes, and the routes that every service has.
    #[must_use]
    pub fn all_routes(&self) -> Vec<Route> {
        let every = http::ROUTES.map(|(method, path)| Route { method, path });
        self.own_routes().chain(every).collect()
    }

    /// The names of the [fault points](crate::Crash::POINTS) that it can reach. Only an effect makes a call.
    #[must_use]
    pub fn fault_points(&self) -> Vec<&'static str> {
        let makes_calls = self.handles.values().any(|(_, handler)| matches!(handler, Handler::Effect(_)));
        let points = crate::Crash::POINTS.into_iter().map(|(name, _)| name);
        points.filter(|name| makes_calls || *name == "committed").collect()
    }

    fn own_routes(&self) -> impl Iterator<Item = Route> {
        self.routes.iter().map(|(route, _)| route.clone())
    }

    /// Makes its own routes public. Otherwise they are for operators. Pushes are still authenticated.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// Declares that some of its routes take a [`SignedIn`](crate::SignedIn) user, so it needs the issuer and
    /// the public keys of access tokens.
    #[must_use]
    pub fn signed_in(mut self) -> Self {
        self.signed_in = true;
        self.expires::<Revoked>()
    }

    /// Says that it keeps cookies in browsers. Then the pages of [allowed origins](Self::allow_origins) use them, too,
    /// so each route that reads a cookie must check the header `Origin`.
    #[must_use]
    pub fn cookies(mut self) -> Self {
        self.cookies = true;
        self
    }

    /// Allows the pages of these origins to call its own routes from a browser, if they are [public](Self::public).
    #[must_use]
    pub fn allow_origins(mut self, origins: Option<Origins>) -> Self {
        self.origins = origins;
        self
    }

    /// Declares that the store may delete documents of type `D` after the time in their field `expireAt`. It deletes
    /// late, so a reader compares that field with the current time.
    #[must_use]
    pub fn expires<D: Document>(mut self) -> Self {
        self.expires.insert(D::COLLECTION);
        self
    }

    /// Declares an environment variable that holds a secret. An effect declares [its own](Effect::SECRETS).
    #[must_use]
    pub fn secret(mut self, variable: &'static str) -> Self {
        self.secrets.insert(variable);
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
    read_object(data).map_err(|error| reject(format_args!("the data is not `{}`: {error}", E::TYPE)))
}
