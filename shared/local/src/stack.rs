//! All services on one port, and the routes that belong to no service: the page, stop and start,
//! and Pub/Sub's REST API.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{ACCEPT, HOST, ORIGIN},
        uri::{Authority, PathAndQuery},
    },
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use catalog::Catalog;
use futures::{FutureExt, future::BoxFuture, future::join3};
use jiff::Timestamp;
use pushbox::{
    Problem, Route, ServiceName,
    letters::{Progress, progress},
    store::Store,
};
use serde_json::json;
use tower::ServiceExt;

use crate::{Broker, Emulator, Mail, Tasks, broker::push, mails, page, pushes::Pushes, rest, state};

/// The interval of Cloud Scheduler in the cloud.
const RELAY_EVERY: Duration = Duration::from_secs(60);

/// All services of a catalog in this process. A clone is another handle to the same stack.
#[derive(Clone)]
pub struct Stack {
    catalog: Arc<Catalog>,
    transport: Transport,
    services: Arc<BTreeMap<String, Hosted>>,
    mailbox: Mailbox,
    tasks: Option<Tasks>,
    /// Holds the receipts.
    store: Option<Arc<dyn Store>>,
    /// By service.
    routes: Arc<BTreeMap<String, Vec<Route>>>,
}

pub(crate) type Mailbox = Arc<dyn Fn() -> BoxFuture<'static, Vec<Mail>> + Send + Sync>;

/// The transport of the events.
#[derive(Clone)]
pub(crate) enum Transport {
    Broker(Broker),
    /// With its pushes to this process.
    Emulator(Emulator, Pushes),
}

struct Hosted {
    app: Router,
    relays: bool,
    running: AtomicBool,
}

impl Stack {
    /// A stack of these services on `broker`. The services should publish through the same broker.
    pub fn on_broker(
        catalog: &Catalog,
        broker: Broker,
        services: impl IntoIterator<Item = (ServiceName, Router)>,
    ) -> Self {
        Self::new(catalog, Transport::Broker(broker), services)
    }

    /// A stack of these services on Google's emulator, which must be
    /// [provisioned](Emulator::provision) to push to this stack.
    pub fn on_emulator(
        catalog: &Catalog,
        emulator: Emulator,
        services: impl IntoIterator<Item = (ServiceName, Router)>,
    ) -> Self {
        Self::new(catalog, Transport::Emulator(emulator, Pushes::of(catalog)), services)
    }

    fn new(
        catalog: &Catalog,
        transport: Transport,
        services: impl IntoIterator<Item = (ServiceName, Router)>,
    ) -> Self {
        let relays = |name| catalog.services.iter().any(|service| service.name == name && service.relays);
        let host = |(name, app): (ServiceName, Router)| {
            (name.to_owned(), Hosted { app, relays: relays(name), running: AtomicBool::new(true) })
        };
        Self {
            catalog: Arc::new(catalog.clone()),
            transport,
            services: Arc::new(services.into_iter().map(host).collect()),
            mailbox: Arc::new(|| async { Vec::new() }.boxed()),
            tasks: None,
            store: None,
            routes: Arc::default(),
        }
    }

    /// Lists these routes at `GET /<service>`.
    #[must_use]
    pub fn with_routes(mut self, routes: impl IntoIterator<Item = (ServiceName, Vec<Route>)>) -> Self {
        let named = routes.into_iter().map(|(service, routes)| (service.to_owned(), routes));
        self.routes = Arc::new(named.collect());
        self
    }

    /// Carries out these tasks, and serves the REST API of Cloud Tasks.
    #[must_use]
    pub fn with_tasks(mut self, tasks: Tasks) -> Self {
        self.tasks = Some(tasks);
        self
    }

    /// Tells `functions dead-letters` how far a service has come with an event, at
    /// `GET /_local/receipts/<service>/<receipt>`. A store in memory can be read only here.
    #[must_use]
    pub fn with_receipts(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Shows the mails that `mailbox` returns on the page, in that order.
    #[must_use]
    pub fn with_mailbox<F, Fut>(mut self, mailbox: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Mail>> + Send + 'static,
    {
        self.mailbox = Arc::new(move || mailbox().boxed());
        self
    }

    /// The router for the whole port.
    pub fn app(&self) -> Router {
        let pubsub = match &self.transport {
            Transport::Broker(broker) => rest::router(broker.clone()),
            Transport::Emulator(emulator, _) => emulator.proxy(),
        };
        Router::new()
            .route("/_local/services/{service}/stop", post(stop))
            .route("/_local/services/{service}/start", post(start))
            .route_layer(from_fn(refuse_other_sites))
            .route("/", get(show_page))
            .route("/_local/state", get(show_state))
            .route("/_local/receipts/{service}/{receipt}", get(show_receipt))
            .merge(mails::routes(self.mailbox.clone()))
            .fallback(dispatch)
            .method_not_allowed_fallback(|| async { Problem::wrong_method() })
            .with_state(self.clone())
            .merge(pubsub)
            .merge(self.tasks.clone().map(|tasks| tasks.app()).unwrap_or_default())
    }

    /// Pushes to the services on `port` of this machine, and makes them relay pending events, until
    /// the future is dropped. Without it, nothing is delivered.
    pub async fn run(self, port: u16) {
        let pushing = async {
            if let Transport::Broker(broker) = &self.transport
                && let Err(error) = push::push_all(broker.clone(), port).await
            {
                tracing::error!(%error, "cannot push messages");
            }
        };
        let firing = async {
            if let Some(tasks) = self.tasks.clone()
                && let Err(error) = tasks.run().await
            {
                tracing::error!(%error, "cannot carry out tasks");
            }
        };
        join3(pushing, firing, self.relay_periodically()).await;
    }

    async fn relay_periodically(&self) {
        let mut timer = tokio::time::interval(RELAY_EVERY);
        loop {
            timer.tick().await;
            for (service, hosted) in self.services.iter().filter(|(_, hosted)| hosted.relays) {
                let mut request = Request::new(Body::empty());
                *request.method_mut() = Method::POST;
                *request.uri_mut() = Uri::from_static("/relay");
                if hosted.is_running() && !hosted.answer(request).await.status().is_success() {
                    tracing::warn!(service, "the relay failed; the next one will try again");
                }
            }
        }
    }

    async fn state(&self) -> state::State {
        let is_running = |name: &str| self.services.get(name).is_some_and(Hosted::is_running);
        state::State::of(&self.catalog, &self.transport, is_running, (self.mailbox)().await).await
    }

    /// Lists the service's routes, for a browser or for a program.
    fn show_routes(&self, service: &str, headers: &HeaderMap) -> Response {
        let entry = self.catalog.services.iter().find(|entry| entry.name == service);
        let about = entry.map_or("", |entry| &entry.about);
        let routes = self.routes.get(service).map_or(&[][..], Vec::as_slice);
        if wants_html(headers) {
            return Html(page::render_routes(service, about, routes)).into_response();
        }
        let route =
            |route: &Route| json!({ "method": route.method, "path": format!("/{service}{}", route.path) });
        let routes: Vec<_> = routes.iter().map(route).collect();
        Json(json!({ "name": service, "about": about, "routes": routes })).into_response()
    }

    fn set_running(&self, service: &str, running: bool) -> Result<(), Problem> {
        let unknown = || Problem::not_found(format_args!("service: {service}"));
        self.services.get(service).ok_or_else(unknown)?.running.store(running, Ordering::Relaxed);
        if let (Transport::Broker(broker), true) = (&self.transport, running) {
            broker.with(|topics, now| topics.wake(service, now));
        }
        tracing::info!(service, "{}", if running { "started" } else { "stopped" });
        Ok(())
    }
}

impl Hosted {
    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    async fn answer_if_running(&self, name: &str, request: Request) -> Response {
        if self.is_running() {
            return self.answer(request).await;
        }
        // Pub/Sub treats this answer like a missing instance: it delivers again later.
        let detail = format!("{name} is stopped. POST /_local/services/{name}/start starts it.");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
    }

    async fn answer(&self, request: Request) -> Response {
        let Ok(response) = self.app.clone().oneshot(request).await;
        response
    }
}

/// Forwards `/<service>/…` to the service as `/…`, as if the service had its own host.
async fn dispatch(State(stack): State<Stack>, mut request: Request) -> Response {
    if rest::is_grpc(request.headers()) {
        return rest::grpc_unimplemented();
    }
    let nothing_here = || Problem::no_such_path().into_response();
    let path = request.uri().path();
    let name = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let Some(hosted) = stack.services.get(&name) else { return nothing_here() };
    let Some(uri) = without_first_segment(request.uri(), &name) else { return nothing_here() };
    let is_root = uri.path() == "/";
    *request.uri_mut() = uri;
    match (request.method(), &stack.transport) {
        (&Method::GET | &Method::HEAD, _) if is_root => stack.show_routes(&name, request.headers()),
        (&Method::POST, Transport::Emulator(_, pushes)) if is_root => {
            pushes.watch(request, |request| hosted.answer_if_running(&name, request)).await
        }
        _ => hosted.answer_if_running(&name, request).await,
    }
}

/// Refuses requests that another site makes a person's browser send. They have the site's `Origin`,
/// or its `Host` if its name [points to this machine](https://en.wikipedia.org/wiki/DNS_rebinding).
/// Programs that are not browsers send no `Origin`.
async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if is_from_here(&request) {
        return next.run(request).await;
    }
    let detail = "Only the local stack's page may do this: Host must be localhost, and Origin, if present, must match Host.";
    Problem::new(StatusCode::FORBIDDEN, detail).into_response()
}

fn is_from_here(request: &Request) -> bool {
    let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // HTTP/2 has the host in the URI.
    let host = request.uri().authority().map(Authority::as_str).or(header(HOST)).unwrap_or_default();
    let is_same = |origin: &HeaderValue| origin.as_bytes() == format!("http://{host}").as_bytes();
    is_this_machine(host) && request.headers().get(ORIGIN).is_none_or(is_same)
}

fn is_this_machine(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let port = host.strip_prefix(name).map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn without_first_segment(uri: &Uri, segment: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix('/')?.strip_prefix(segment)?;
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{slash}{rest}")).ok()?);
    Uri::from_parts(parts).ok()
}

async fn show_page(State(stack): State<Stack>) -> Html<String> {
    Html(page::render(&stack.state().await))
}

async fn show_state(State(stack): State<Stack>) -> Json<state::State> {
    Json(stack.state().await)
}

async fn show_receipt(
    State(stack): State<Stack>,
    Path((service, receipt)): Path<(String, String)>,
) -> Result<Json<Progress>, Problem> {
    let unknown = || Problem::not_found(format_args!("service: {service}"));
    let store = stack.store.as_ref().filter(|_| stack.services.contains_key(&service)).ok_or_else(unknown)?;
    let progress = progress(&**store, &service, &receipt, Timestamp::now()).await;
    Ok(Json(progress.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?))
}

async fn stop(stack: State<Stack>, name: Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    switch(&stack, &name, false, &headers)
}

async fn start(stack: State<Stack>, name: Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    switch(&stack, &name, true, &headers)
}

fn switch(stack: &Stack, service: &str, running: bool, headers: &HeaderMap) -> Result<Response, Problem> {
    stack.set_running(service, running)?;
    if wants_html(headers) {
        return Ok(Redirect::to("/").into_response());
    }
    Ok(Json(json!({ "name": service, "running": running })).into_response())
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html")
}
