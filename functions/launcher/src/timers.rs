//! `functions timers` and `functions cloud-tasks`.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use axum::routing::get;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use local::Tasks;
use pushbox::{Service, serve, timers};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    environment::{Cloud, start_logging},
    systems,
    terminal::print,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Creates the tasks again that a purged or deleted queue has lost. The environment is that of the service
    Reconcile {
        /// The name of the service, such as expiration-service
        service: String,
        /// Also restore timers that were due in this many past hours. If they have fired, they fire again, and the
        /// receipts of their consumers drop them
        #[arg(long, default_value_t = 24)]
        hours: i64,
    },
}

/// A person waits longer for a call than a push does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Restores the timers of a service.
pub(crate) async fn run(command: Command) -> Result<(), String> {
    let Command::Reconcile { service, hours } = command;
    start_logging()?;
    let cloud = Cloud::from_env(None)?;
    let declared = systems::declared()?;
    let name = declared
        .iter()
        .flat_map(|system| &system.services)
        .map(Service::declaration)
        .find(|declared| declared.name == service && !declared.delays.is_empty())
        .map(|declared| declared.name)
        .ok_or_else(|| format!("{service} is no service that delays events"))?;
    let now = Timestamp::now();
    let since = now.saturating_sub(SignedDuration::from_hours(hours)).map_err(|error| error.to_string())?;
    let store = cloud.firestore().with_deadline(PATIENCE);
    let staged = timers::staged(&store, name, since, now).await;
    let staged = staged.map_err(|error| error.to_string())?;
    let queue = cloud.timers()?.with_deadline(PATIENCE);
    let (mut restored, mut failed, all) = (0, 0, staged.len());
    for timer in staged {
        match queue.restore(&timer).await {
            Ok(is_new) => restored += usize::from(is_new),
            Err(error) => {
                failed += 1;
                tracing::error!(%error, timer = timer.id, "a timer is not restored");
            }
        }
    }
    print(&format!("{service}: {all} timers in the receipts, {restored} restored, {failed} failed\n"))?;
    if failed == 0 { Ok(()) } else { Err("some timers are not restored; run the command again".to_owned()) }
}

#[derive(Args)]
pub(crate) struct StandIn {
    /// The port to listen on
    #[arg(long, default_value_t = 8087)]
    port: u16,
}

/// Runs the stand-in for Cloud Tasks until Ctrl-C. Its queues are those of the catalog.
pub(crate) async fn stand_in(StandIn { port }: StandIn) -> Result<(), String> {
    start_logging()?;
    // Its tasks are requests. Only a service in the same process sets timers that publish here.
    let cloud = Cloud::from_env(Some("local"))?;
    let tasks = Tasks::new(&systems::catalog()?, Arc::new(cloud.pubsub()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}"))?;
    tracing::info!(port, "the stand-in for Cloud Tasks is listening");
    let running = tokio::spawn(tasks.clone().run());
    // scripts/emulators asks whether it has started.
    let app = tasks.app().route("/", get(|| async { "ok" }));
    let served = serve(listener, app, TaskTracker::new()).await;
    running.abort();
    served.map_err(|error| error.to_string())
}
