//! `functions local`: all services in one process, on one local port.

use std::{cmp::Reverse, io, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use catalog::Catalog;
use effects::mail::{LocalMail, mailbox};
use local::{Attachment, Broker, DeliveryPolicy, Emulator, Mail, Stack, Tasks};
use pushbox::{
    Ports, PushAuth, Route, Service, ServiceName,
    publisher::Publisher,
    serve,
    store::{Memory, Store, StoreError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{
    environment::{self, Cloud, start_logging},
    systems,
};

pub(crate) async fn run() -> Result<(), String> {
    start_logging()?;
    let cloud = Cloud::from_env(Some("local"))?;
    let port = environment::port()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!("cannot listen on port {port}: {error}. To use another port: PORT=8090 cargo run")
    })?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();

    let store: Arc<dyn Store> = match &cloud.firestore_emulator {
        Some(host) => {
            expect_firestore(host).await?;
            Arc::new(cloud.firestore())
        }
        None => Arc::new(Memory::default()),
    };
    let background = TaskTracker::new();
    let catalog = systems::catalog()?;
    let ports = |publisher: Arc<dyn Publisher>| {
        let tasks = Tasks::new(&catalog, publisher.clone());
        let mut ports = Ports::new(store.clone(), publisher);
        ports.background = background.clone();
        ports.timers = Some(match &cloud.tasks_emulator {
            Some(host) => {
                let pubsub = cloud.pubsub_emulator.clone().unwrap_or_else(|| format!("localhost:{port}"));
                Arc::new(cloud.emulated_timers(host, &pubsub))
            }
            None => Arc::new(tasks.clone()),
        });
        (ports, tasks)
    };
    let stack = match &cloud.pubsub_emulator {
        Some(host) => {
            let emulator = Emulator::new(host, &cloud.project).map_err(|error| error.to_string())?;
            let endpoint = |service: &str| format!("http://localhost:{port}/{service}");
            emulator.provision(&catalog, endpoint).await.map_err(|error| error.to_string())?;
            let (ports, tasks) = ports(Arc::new(cloud.pubsub()));
            let (apps, routes) = apps(&ports)?;
            Stack::on_emulator(&catalog, emulator, apps).with_tasks(tasks).with_routes(routes)
        }
        None => {
            let broker = Broker::new(&catalog, DeliveryPolicy::local()).map_err(|error| error.to_string())?;
            let (ports, tasks) = ports(Arc::new(broker.clone()));
            let (apps, routes) = apps(&ports)?;
            Stack::on_broker(&catalog, broker, apps).with_tasks(tasks).with_routes(routes)
        }
    };
    let mail_store = store.clone();
    let stack = stack.with_mailbox(move || mails(mail_store.clone())).with_receipts(store.clone());
    seed(&stack.app()).await;

    print!("{}", screen(&catalog, &cloud, port));
    let pushing = tokio::spawn(stack.clone().run(port));
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

type Apps = Vec<(ServiceName, Router)>;
type Routes = Vec<(ServiceName, Vec<Route>)>;

/// Every service as an app, and the list of its routes. Their pushes need no token, because only this machine
/// can reach them.
fn apps(ports: &Ports) -> Result<(Apps, Routes), String> {
    let services = systems::configured(ports)?.into_iter().flat_map(|system| system.services);
    let app = |service: Service| {
        let (name, routes) = (service.name(), service.all_routes());
        ((name, service.app(ports.clone(), PushAuth::None)), (name, routes))
    };
    Ok(services.map(app).unzip())
}

/// Puts products into the stock of the shop.
async fn seed(app: &Router) {
    for (path, body) in shop::SEED {
        // The emulators outlive this process. Because of the key, the next start adds no second stock.
        let request = Request::put(path).header("idempotency-key", "seed").body(Body::from(body));
        let Ok(request) = request else { continue };
        let answer = app.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        if !answer.status().is_success() {
            tracing::warn!(path, status = answer.status().as_u16(), "cannot seed the shop");
        }
    }
}

/// The local mailbox, the newest mail first.
async fn mails(store: Arc<dyn Store>) -> Vec<Mail> {
    let found = all_mails(&*store).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the local mailbox");
        Vec::new()
    });
    let attachment = |file: effects::mail::Attachment| Attachment {
        name: file.name,
        content_type: file.content_type,
        content: file.content.into(),
    };
    let mut mails: Vec<Mail> = found
        .into_iter()
        .map(|found| Mail {
            id: found.id,
            sent_at: found.sent_at,
            to: found.mail.to.into(),
            subject: found.mail.subject,
            text: found.mail.text,
            html: found.mail.html,
            attachments: found.mail.attachments.into_iter().map(attachment).collect(),
        })
        .collect();
    mails.sort_by_key(|mail| Reverse(mail.sent_at));
    mails
}

/// Reads all pages. They are in the order of the mails' ids, so any page can have the newest mail.
async fn all_mails(store: &dyn Store) -> Result<Vec<LocalMail>, StoreError> {
    const PAGE: usize = 300;
    let mut mails: Vec<LocalMail> = Vec::new();
    loop {
        let after = mails.last().map(|mail| mail.id.clone());
        let page = mailbox(store, after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        mails.extend(page);
        if is_last {
            return Ok(mails);
        }
    }
}

/// The text that the start prints: the URLs of the services, and commands to try first.
fn screen(catalog: &Catalog, cloud: &Cloud, port: u16) -> String {
    let base = format!("http://localhost:{port}");
    let place = |emulator: &Option<String>, default: &str| {
        emulator.as_ref().map_or(default.to_owned(), |host| format!("the emulator at {host}"))
    };
    let mut screen = format!("\n  {base}   services, events, dead letters, mails\n\n");
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
