//! All services on one port, and the routes that belong to no service: the console, and Pub/Sub's REST API.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::ACCEPT, uri::PathAndQuery},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use catalog::Catalog;
use futures::{FutureExt, future::join3};
use pushbox::{
    Ports, Problem, Route, ServiceName,
    letters::{Progress, progress},
    store::StoreError,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    Broker, Emulator, Mail, Tasks,
    broker::push,
    console::{self, Extras, Port, Source},
    journal::Journal,
    mails,
    process::Process,
    pushes::Pushes,
    rest, room, state,
};

/// The interval of Cloud Scheduler in the cloud.
const RELAY_EVERY: Duration = Duration::from_secs(60);

/// All services of a catalog in this process. A clone is another handle to the same stack.
#[derive(Clone)]
pub struct Stack {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) transport: Transport,
    pub(crate) services: Arc<BTreeMap<String, Process>>,
    pub(crate) mailbox: Mailbox,
    pub(crate) tasks: Option<Tasks>,
    pub(crate) journal: Journal,
    pub(crate) extras: Extras,
    /// Becomes true when the process is told to stop: an open stream would hold it back.
    pub(crate) stopping: watch::Sender<bool>,
    /// By service.
    routes: Arc<BTreeMap<String, Vec<Route>>>,
}

pub(crate) type Mailbox = Source<Mail>;

/// The transport of the events.
#[derive(Clone)]
pub(crate) enum Transport {
    Broker(Broker),
    /// With its pushes to this process.
    Emulator(Emulator, Pushes),
}

impl Stack {
    /// A stack of these services on `broker`. The services should publish through the same broker.
    pub fn on_broker(
        catalog: &Catalog,
        broker: Broker,
        services: impl IntoIterator<Item = (ServiceName, Router)>,
    ) -> Self {
        let journal = broker.act(|topics, _| topics.recent().journal());
        Self::new(catalog, Transport::Broker(broker), journal, services)
    }

    /// A stack of these services on Google's emulator, which must be
    /// [provisioned](Emulator::provision) to push to this stack.
    pub fn on_emulator(
        catalog: &Catalog,
        emulator: Emulator,
        services: impl IntoIterator<Item = (ServiceName, Router)>,
    ) -> Self {
        let pushes = Pushes::of(catalog);
        let journal = pushes.act(|recent| recent.journal());
        Self::new(catalog, Transport::Emulator(emulator, pushes), journal, services)
    }

    fn new(
        catalog: &Catalog,
        transport: Transport,
        journal: Journal,
        services: impl IntoIterator<Item = (ServiceName, Router)>,
    ) -> Self {
        let host = |(name, app): (ServiceName, Router)| {
            (name.to_owned(), Process::of_app(app, relays(catalog, name), journal.clone()))
        };
        Self {
            catalog: Arc::new(catalog.clone()),
            transport,
            services: Arc::new(services.into_iter().map(host).collect()),
            mailbox: Arc::new(|| async { Ok(Vec::new()) }.boxed()),
            tasks: None,
            journal,
            extras: Extras::default(),
            stopping: watch::channel(false).0,
            routes: Arc::default(),
        }
    }

    /// Hosts all services of the catalog on these ports. `build` makes the app of a service. It is called again when
    /// a killed service starts.
    #[must_use]
    pub fn with_services(
        mut self,
        ports: &Ports,
        build: impl Fn(&str, Ports) -> Option<Router> + Clone + Send + Sync + 'static,
    ) -> Self {
        let host = |name: &String| {
            let (build, of) = (build.clone(), name.clone());
            let (ports, journal) = (ports.clone(), self.journal.clone());
            let built =
                Process::built(relays(&self.catalog, name), journal, ports, move |ports| build(&of, ports));
            Some((name.clone(), built?))
        };
        self.services =
            Arc::new(self.catalog.services.iter().map(|entry| &entry.name).filter_map(host).collect());
        self
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

    /// Shows the mails that `mailbox` returns in the console, in that order.
    #[must_use]
    pub fn with_mailbox<F, Fut>(mut self, mailbox: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Mail>, StoreError>> + Send + 'static,
    {
        self.mailbox = Arc::new(move || mailbox().boxed());
        self
    }

    /// The router for the whole port. It refuses requests that another site makes a browser send.
    pub fn app(&self) -> Router {
        let pubsub = match &self.transport {
            Transport::Broker(broker) => rest::router(broker.clone()),
            Transport::Emulator(emulator, _) => emulator.proxy(),
        };
        Router::new()
            .merge(console::routes())
            .route("/_local/state", get(show_state))
            .route("/_local/clock", get(show_clock))
            .route("/_local/receipts/{service}/{receipt}", get(show_receipt))
            .merge(mails::routes(self.mailbox.clone()))
            .fallback(dispatch)
            .method_not_allowed_fallback(|| async { Problem::wrong_method() })
            .with_state(self.clone())
            .merge(pubsub)
            .merge(self.tasks.clone().map(|tasks| tasks.app()).unwrap_or_default())
            .layer(from_fn_with_state(self.clone(), room::refuse_when_full))
            .layer(from_fn_with_state(Port(self.extras.port), console::refuse_other_sites))
            .layer(from_fn_with_state(self.clone(), console::explain))
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

    /// Ends the streams of the console, so that the process can stop.
    pub fn end_streams(&self) {
        self.stopping.send_replace(true);
    }

    async fn relay_periodically(&self) {
        let mut timer = tokio::time::interval(RELAY_EVERY);
        loop {
            timer.tick().await;
            self.relay().await;
        }
    }

    /// Makes the services relay what is pending.
    pub(crate) async fn relay(&self) {
        for (service, process) in self.services.iter().filter(|(_, process)| process.relays) {
            let mut request = Request::new(Body::empty());
            *request.method_mut() = Method::POST;
            *request.uri_mut() = Uri::from_static("/relay");
            if process.is_up() && !process.answer(service, request).await.status().is_success() {
                tracing::warn!(service, "the relay failed; the next one will try again");
            }
        }
    }

    pub(crate) fn broker(&self) -> Option<&Broker> {
        match &self.transport {
            Transport::Broker(broker) => Some(broker),
            Transport::Emulator(..) => None,
        }
    }

    pub(crate) fn is_up(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(Process::is_up)
    }

    /// Lists the service's routes, for a browser or for a program.
    fn show_routes(&self, service: &str, headers: &HeaderMap) -> Response {
        let entry = self.catalog.services.iter().find(|entry| entry.name == service);
        let about = entry.map_or("", |entry| &entry.about);
        let routes = self.routes.get(service).map_or(&[][..], Vec::as_slice);
        if wants_html(headers) {
            return console::service_routes(self, service, about, routes);
        }
        let route =
            |route: &Route| json!({ "method": route.method, "path": format!("/{service}{}", route.path) });
        let routes: Vec<_> = routes.iter().map(route).collect();
        Json(json!({ "name": service, "about": about, "routes": routes })).into_response()
    }
}

fn relays(catalog: &Catalog, service: &str) -> bool {
    catalog.services.iter().any(|entry| entry.name == service && entry.relays)
}

/// Forwards `/<service>/…` to the service as `/…`, as if the service had its own host.
async fn dispatch(State(stack): State<Stack>, mut request: Request) -> Response {
    if rest::is_grpc(request.headers()) {
        return rest::grpc_unimplemented();
    }
    let nothing_here = || Problem::no_such_path().into_response();
    let path = request.uri().path();
    let name = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let Some(process) = stack.services.get(&name) else { return nothing_here() };
    let Some(uri) = without_first_segment(request.uri(), &name) else { return nothing_here() };
    let is_root = uri.path() == "/";
    *request.uri_mut() = uri;
    match (request.method(), &stack.transport) {
        (&Method::GET | &Method::HEAD, _) if is_root => stack.show_routes(&name, request.headers()),
        (&Method::POST, Transport::Emulator(_, pushes)) if is_root => {
            pushes.watch(&name, request, |request| process.answer(&name, request)).await
        }
        _ => process.answer(&name, request).await,
    }
}

fn without_first_segment(uri: &Uri, segment: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix('/')?.strip_prefix(segment)?;
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{slash}{rest}")).ok()?);
    Uri::from_parts(parts).ok()
}

async fn show_state(State(stack): State<Stack>) -> Json<state::State> {
    let mails = (stack.mailbox)().await;
    let mails = mails.inspect_err(|error| tracing::warn!(%error, "cannot read the mailbox")).ok();
    let is_up = |name: &str| stack.is_up(name);
    Json(state::State::of(&stack.catalog, &stack.transport, is_up, mails, stack.journal.last()).await)
}

/// Tells `functions dead-letters` the time, which can be ahead of the machine's.
async fn show_clock(State(stack): State<Stack>) -> Json<Value> {
    Json(json!({ "now": stack.now() }))
}

/// Tells `functions dead-letters` how far a service has come with an event. A store in memory can be read only here.
async fn show_receipt(
    State(stack): State<Stack>,
    Path((service, receipt)): Path<(String, String)>,
) -> Result<Json<Progress>, Problem> {
    let unknown = || Problem::not_found(format_args!("service: {service}"));
    let store = stack.extras.store.as_ref().filter(|_| stack.services.contains_key(&service));
    let progress = progress(&**store.ok_or_else(unknown)?, &service, &receipt, stack.now()).await;
    Ok(Json(progress.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?))
}

pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html")
}
