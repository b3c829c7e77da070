//! `functions local`: all services in one process, on one local port.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, header::HOST},
};
use catalog::Catalog;
use effects::payments::LocalFaults;
use local::{Broker, DeliveryPolicy, Emulator, Stack, Tasks};
use pushbox::{
    Clock, Offset, Ports, PushAuth,
    publisher::Publisher,
    serve,
    store::{Memory, Store},
    told_to_stop,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{
    console,
    environment::{Cloud, SignIn, listen_here, start_logging},
    systems,
    terminal::print,
};

/// The most bytes of documents in memory.
const MOST_DOCUMENTS: usize = 512 << 20;

/// The most bytes of receipts in memory whose handling is over.
const MOST_RECEIPTS: usize = 128 << 20;

pub(crate) async fn run() -> Result<(), String> {
    start_logging()?;
    let cloud = Cloud::from_env(Some("local"))?;
    let (listener, port) = listen_here(8080, "cargo run").await?;
    let offset = Offset::default();
    let memory = Arc::new(Memory::bounded(Clock::moved_by(offset.clone()), MOST_RECEIPTS));
    let store: Arc<dyn Store> = match &cloud.firestore_emulator {
        Some(host) => {
            expect_firestore(host).await?;
            Arc::new(cloud.firestore())
        }
        None => memory.clone(),
    };
    let background = TaskTracker::new();
    let catalog = systems::catalog()?;
    let ports = |publisher: Arc<dyn Publisher>, clock: Clock| {
        let now = clock.clone();
        let tasks = Tasks::with_clock(&catalog, publisher.clone(), move || now.now());
        let mut ports = Ports::new(store.clone(), publisher);
        ports.background = background.clone();
        ports.clock = clock;
        ports.timers = Some(match &cloud.tasks_emulator {
            Some(host) => {
                let pubsub = cloud.pubsub_emulator.clone().unwrap_or_else(|| format!("localhost:{port}"));
                Arc::new(cloud.emulated_timers(host, &pubsub))
            }
            None => Arc::new(tasks.clone()),
        });
        (ports, tasks)
    };
    let is_in_memory = [&cloud.pubsub_emulator, &cloud.firestore_emulator, &cloud.tasks_emulator];
    let is_in_memory = is_in_memory.iter().all(|emulator| emulator.is_none());
    let (stack, ports) = match &cloud.pubsub_emulator {
        Some(host) => {
            let emulator = Emulator::new(host, &cloud.project).map_err(|error| error.to_string())?;
            let endpoint = |service: &str| format!("http://localhost:{port}/{service}");
            emulator.provision(&catalog, endpoint).await.map_err(|error| error.to_string())?;
            let (ports, tasks) = ports(Arc::new(cloud.pubsub()), Clock::system());
            (Stack::on_emulator(&catalog, emulator, []).with_tasks(tasks), ports)
        }
        None => {
            let clock = if is_in_memory { Clock::moved_by(offset.clone()) } else { Clock::system() };
            let now = clock.clone();
            let broker = Broker::with_clock(&catalog, DeliveryPolicy::local(), move || now.now());
            let broker = broker.map_err(|error| error.to_string())?;
            let (ports, tasks) = ports(Arc::new(broker.clone()), clock);
            (Stack::on_broker(&catalog, broker, []).with_tasks(tasks), ports)
        }
    };
    let stack = if is_in_memory { stack.with_clock(offset) } else { stack };
    let stack = match cloud.firestore_emulator {
        Some(_) => stack,
        None => stack.with_memory(memory, MOST_DOCUMENTS, MOST_RECEIPTS),
    };
    let stack = console::furnish(host(stack, ports, port)?, &store, &cloud.project, port);
    seed(&stack.app()).await;

    print(&screen(&catalog, &cloud, port))?;
    let pushing = tokio::spawn(stack.clone().run(port));
    let streaming = stack.clone();
    tokio::spawn(async move {
        // If it cannot listen for signals, `serve` says so.
        let _ = told_to_stop().await;
        streaming.end_streams();
    });
    let served = serve(listener, stack.app(), background).await;
    pushing.abort();
    served.map_err(|error| error.to_string())
}

/// Fails if nothing listens at `host`. The Firestore client would retry, and log each failure.
async fn expect_firestore(host: &str) -> Result<(), String> {
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connected = timeout(Duration::from_secs(4), TcpStream::connect(host)).await;
    connected.map_err(timed_out).flatten().map(drop).map_err(|error| {
        format!(
            "no answer from the Firestore emulator at {host}, which FIRESTORE_EMULATOR_HOST names: {error}"
        )
    })
}

/// Hosts every service, with faults of the outside world that the console can turn on. Pushes need no token, because
/// only this machine can reach the services.
fn host(stack: Stack, mut ports: Ports, port: u16) -> Result<Stack, String> {
    let sign_in = SignIn::for_this_run(&format!("http://localhost:{port}/auth-service"))?;
    ports.access_tokens = sign_in.tokens.clone();
    let faults = LocalFaults::default();
    let (outside, of_gateway) = (ports.clone(), faults.clone());
    let configured = move || {
        let auth = sign_in.clone().into_auth(None, outside.clock.clone(), outside.random.clone());
        let systems = systems::configured(&outside, auth, &of_gateway)?;
        Ok::<_, String>(systems.into_iter().flat_map(|system| system.services))
    };
    let services: Vec<_> = configured()?.collect();
    let routes = services.iter().map(|service| (service.name(), service.all_routes()));
    let points = services.iter().map(|service| (service.name(), service.fault_points()));
    // A restarted service is built anew, but the outside world stays.
    let build = move |name: &str, ports: Ports| {
        let service = configured().ok()?.find(|service| service.name() == name)?;
        Some(service.app(ports, PushAuth::None))
    };
    let stack = stack.with_services(&ports, build).with_routes(routes).with_fault_points(points);
    Ok(stack.with_switches(console::switches(&faults)))
}

/// Puts products into the stock of the shop.
async fn seed(app: &Router) {
    for (path, body) in shop::SEED {
        // The emulators outlive this process. Because of the key, the next start adds no second stock.
        let request = Request::put(path).header(HOST, "localhost").header("idempotency-key", "seed");
        let request = request.body(Body::from(body));
        let Ok(request) = request else { continue };
        let answer = app.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        if !answer.status().is_success() {
            tracing::warn!(path, status = answer.status().as_u16(), "cannot seed the shop");
        }
    }
}

/// The text that the start prints: the URLs of the services, and commands to try first.
fn screen(catalog: &Catalog, cloud: &Cloud, port: u16) -> String {
    let base = format!("http://localhost:{port}");
    let place = |emulator: &Option<String>, default: &str| {
        emulator.as_ref().map_or(default.to_owned(), |host| format!("the emulator at {host}"))
    };
    let mut screen = format!("\n  {base}   the console: map, events, faults, dead letters, mails\n\n");
    for service in &catalog.services {
        screen += &format!("  {base}/{:<24} {}\n", service.name, service.about);
    }
    screen += &format!(
        "
  events: {}, documents: {}

  Sign a user up:

    curl -X POST {base}/user-service/users -H 'Content-Type: application/json' \\
      -d '{{\"email\":\"ada@example.com\",\"name\":\"Ada Lovelace\"}}'

  Publish an event by hand:

    CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB={base}/ CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_PROJECT=local \\
      gcloud pubsub topics publish user-events \\
      --message '{{\"userId\":\"test-123\",\"email\":\"manual@test.com\",\"name\":\"Manual Test\",\"event\":\"user.created\"}}'

  Ctrl-C stops the stack.

",
        place(&cloud.pubsub_emulator, "the broker in this process"),
        place(&cloud.firestore_emulator, "in memory"),
    );
    screen
}
