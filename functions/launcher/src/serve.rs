//! `functions serve`: runs one service, as Cloud Run does.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use catalog::Catalog;
use effects::payments::LocalFaults;
use local::Emulator;
use pushbox::{Ports, serve};
use tokio::net::TcpListener;

use crate::{
    environment::{Cloud, Serving, SignIn, expect_no_silent_stand_in, start_logging, trusted_proxies},
    systems,
};

pub(crate) async fn run(name: &str) -> Result<(), String> {
    let entry = &systems::entry(name)?;

    start_logging()?;
    let cloud = Cloud::from_env(None)?;
    let Serving { port, auth, cors_allowed_origins } = Serving::from_env(entry.public, &cloud)?;
    expect_no_silent_stand_in(&entry.secrets, &cloud)?;
    let mut ports = Ports::new(Arc::new(cloud.firestore()), Arc::new(cloud.pubsub()));
    if entry.timer_queue.is_some() {
        ports.timers = Some(Arc::new(cloud.timers()?));
    }
    let sign_in = SignIn::from_env(entry)?;
    ports.access_tokens = sign_in.tokens.clone();
    let mut desk = sign_in.into_auth(cors_allowed_origins.clone(), ports.clock.clone(), ports.random.clone());
    desk.trusted_proxies = trusted_proxies()?;
    let mut services = systems::configured(&ports, desk, &LocalFaults::default())?
        .into_iter()
        .flat_map(|system| system.services);
    let service = services.find(|service| service.name() == name).ok_or("the systems have changed")?;

    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}"))?;
    if let Some(host) = &cloud.pubsub_emulator {
        let emulator = Emulator::new(host, &cloud.project).map_err(|error| error.to_string())?;
        tokio::spawn(provision(
            emulator,
            systems::catalog()?.only(name),
            format!("http://localhost:{port}/"),
        ));
    }
    tracing::info!(service = name, port, "listening");
    let background = ports.background.clone();
    let app = service.allow_origins(cors_allowed_origins).app(ports, auth);
    serve(listener, app, background).await.map_err(|error| error.to_string())
}

/// Creates the service's topics and subscriptions on an emulator, which Terraform does not manage. Retries
/// until it succeeds, because a dependency that is down must not stop the start.
async fn provision(emulator: Emulator, catalog: Catalog, endpoint: String) {
    while let Err(error) = emulator.provision(&catalog, |_| endpoint.clone()).await {
        tracing::warn!(%error, "cannot create topics and subscriptions yet");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tracing::info!("topics and subscriptions are there");
}
