//! The whole of it in one process, on one port of this machine.

use std::{cmp::Reverse, io, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use catalog::Catalog;
use effects::mail::{LocalMail, mailbox};
use local::{Attachment, Broker, DeliveryPolicy, Emulator, Mail, Stack};
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
        format!("cannot listen on port {port}: {error}. To take another one: PORT=8090 cargo run")
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
    let ports = |publisher: Arc<dyn Publisher>| {
        let mut ports = Ports::new(store.clone(), publisher);
        ports.background = background.clone();
        ports
    };
    let catalog = systems::catalog()?;
    let stack = match &cloud.pubsub_emulator {
        Some(host) => {
            let emulator = Emulator::new(host, &cloud.project).map_err(|error| error.to_string())?;
            let endpoint = |service: &str| format!("http://localhost:{port}/{service}");
            emulator.provision(&catalog, endpoint).await.map_err(|error| error.to_string())?;
            let (apps, routes) = apps(&ports(Arc::new(cloud.pubsub())))?;
            Stack::on_emulator(&catalog, emulator, apps).with_routes(routes)
        }
        None => {
            let broker = Broker::new(&catalog, DeliveryPolicy::local()).map_err(|error| error.to_string())?;
            let (apps, routes) = apps(&ports(Arc::new(broker.clone())))?;
            Stack::on_broker(&catalog, broker, apps).with_routes(routes)
        }
    };
    let kept = store.clone();
    let stack = stack.with_mailbox(move || mails(kept.clone()));
    seed(&stack.app()).await;

    print!("{}", screen(&catalog, &cloud, port));
    let pushing = tokio::spawn(stack.clone().run(port));
    let served = serve(listener, stack.app(), background).await;
    pushing.abort();
    served.map_err(|error| error.to_string())
}

/// Fails if no emulator listens at `host`. Firestore's client would retry and log each failure.
async fn expect_firestore(host: &str) -> Result<(), String> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connected = timeout(Duration::from_secs(4), TcpStream::connect(host)).await;
    connected.map_err(late).flatten().map(drop).map_err(|error| {
        format!(
            "no answer from the Firestore emulator at {host}, which FIRESTORE_EMULATOR_HOST names: {error}"
        )
    })
}

type Apps = Vec<(ServiceName, Router)>;
type Routes = Vec<(ServiceName, Vec<Route>)>;

/// Every service, ready to serve, and the list of its routes. Only this machine reaches them.
fn apps(ports: &Ports) -> Result<(Apps, Routes), String> {
    let services = systems::configured(ports)?.into_iter().flat_map(|system| system.services);
    let app = |service: Service| {
        let (name, routes) = (service.name(), service.all_routes());
        ((name, service.app(ports.clone(), PushAuth::None)), (name, routes))
    };
    Ok(services.map(app).unzip())
}

/// Gives the shop something to sell.
async fn seed(app: &Router) {
    for (path, body) in shop::SEED {
        // On the emulators the next start finds what this one has left, and does not put it again.
        let request = Request::put(path).header("idempotency-key", "seed").body(Body::from(body));
        let Ok(request) = request else { continue };
        let answer = app.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        if !answer.status().is_success() {
            tracing::warn!(path, status = answer.status().as_u16(), "not seeded");
        }
    }
}

/// The local mailbox, the newest mail first.
async fn mails(store: Arc<dyn Store>) -> Vec<Mail> {
    let found = all_mails(&*store).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the local mailbox cannot be read");
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

/// They come in the order of their ids, so the newest are known only once all are read.
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

/// What a newcomer sees: what there is, where it is, and what to try first.
fn screen(catalog: &Catalog, cloud: &Cloud, port: u16) -> String {
    let base = format!("http://localhost:{port}");
    let place = |emulator: &Option<String>, otherwise: &str| {
        emulator.as_ref().map_or(otherwise.to_owned(), |host| format!("the emulator at {host}"))
    };
    let mut screen = format!("\n  {base}   services, events, dead letters, mails\n\n");
    for service in &catalog.services {
        screen += &format!("  {base}/{:<24} {}\n", service.name, service.about);
    }
    screen += &format!(
        "
  events: {}, documents: {}

  Sign somebody up:

    curl -X POST {base}/user-service/users -H 'Content-Type: application/json' \\
      -d '{{\"email\":\"ada@example.com\",\"name\":\"Ada Lovelace\"}}'

  Publish an event by hand:

    CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB={base}/ CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_PROJECT=local \\
      gcloud pubsub topics publish user-events \\
      --message '{{\"userId\":\"test-123\",\"email\":\"manual@test.com\",\"name\":\"Manual Test\",\"event\":\"user.created\"}}'

  Ctrl-C ends it.

",
        place(&cloud.pubsub_emulator, "the broker in this process"),
        place(&cloud.firestore_emulator, "in memory"),
    );
    screen
}
