//! The whole of it in one process, on one port of this machine.

use std::{cmp::Reverse, net::Ipv4Addr, sync::Arc};

use axum::{Router, body::Body, http::Request};
use local::{Broker, DeliveryPolicy, Emulator, Mail, Stack};
use pushbox::{
    Catalog, Clock, Ports, PushAuth, ServiceName,
    publisher::Publisher,
    serve,
    store::{Memory, Store},
};
use tokio::net::TcpListener;
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

    let store: Arc<dyn Store> = match cloud.firestore_emulator {
        Some(_) => Arc::new(cloud.firestore()),
        None => Arc::new(Memory::default()),
    };
    let background = TaskTracker::new();
    let ports = |publisher: Arc<dyn Publisher>| Ports {
        store: store.clone(),
        publisher,
        clock: Clock::system(),
        background: background.clone(),
    };
    let catalog = systems::catalog()?;
    let stack = match &cloud.pubsub_emulator {
        Some(host) => {
            let emulator = Emulator::new(host, &cloud.project).map_err(|error| error.to_string())?;
            let endpoint = |service: &str| format!("http://localhost:{port}/{service}");
            emulator.provision(&catalog, endpoint).await.map_err(|error| error.to_string())?;
            Stack::on_emulator(&catalog, emulator, apps(&ports(Arc::new(cloud.pubsub())))?)
        }
        None => {
            let broker = Broker::new(&catalog, DeliveryPolicy::local()).map_err(|error| error.to_string())?;
            Stack::on_broker(&catalog, broker.clone(), apps(&ports(Arc::new(broker)))?)
        }
    };
    let mailbox = store.clone();
    let stack = stack.with_mailbox(move || mails(mailbox.clone()));
    seed(&stack.app()).await;

    print!("{}", screen(&catalog, &cloud, port));
    let pushing = tokio::spawn(stack.clone().run(port));
    let served = serve(listener, stack.app(), background).await;
    pushing.abort();
    served.map_err(|error| error.to_string())
}

/// Every service's routes. Only this machine reaches them.
fn apps(ports: &Ports) -> Result<Vec<(ServiceName, Router)>, String> {
    let services = systems::configured(ports)?.into_iter().flat_map(|system| system.services);
    Ok(services.map(|service| (service.name(), service.app(ports.clone(), PushAuth::None))).collect())
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
    let found = effects::mail::mailbox(&*store, None, 1000).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the local mailbox cannot be read");
        Vec::new()
    });
    let mut mails: Vec<Mail> = found
        .into_iter()
        .map(|found| Mail {
            sent_at: found.sent_at,
            to: found.mail.to.into(),
            subject: found.mail.subject,
            text: found.mail.text,
        })
        .collect();
    mails.sort_by_key(|mail| Reverse(mail.sent_at));
    mails
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
