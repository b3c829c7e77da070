//! `functions console`: the console of a project, or of emulators.

use std::{net::Ipv4Addr, sync::Arc};

use clap::Args;
use local::Deployment;
use pushbox::serve;
use redrive::{Monitoring, Names, NoClient, Rest};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    environment::{self, Cloud, start_logging},
    systems,
};

#[derive(Args)]
pub(crate) struct Options {
    /// The project. Default: GOOGLE_CLOUD_PROJECT
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Lets the page replay dead letters. Without it, the page publishes and deletes nothing
    #[arg(long)]
    allow_replay: bool,
}

/// The default port. The local stack has 8080, so both can run.
const PORT: u16 = 8081;

pub(crate) async fn run(options: &Options) -> Result<(), String> {
    start_logging()?;
    let cloud = Cloud::of(options.project.as_deref())?;
    let port = environment::port(PORT)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!("cannot listen on port {port}: {error}. To use another port: PORT=8090 functions console")
    })?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let (rest, monitoring) = ports(&cloud).map_err(|error| error.to_string())?;
    let rest = Arc::new(rest);
    let deployment = Deployment {
        catalog: systems::catalog()?,
        names: cloud.names(),
        store: Arc::new(cloud.firestore()),
        subscriber: rest.clone(),
        publisher: rest,
        monitoring,
        may_replay: options.allow_replay,
    };
    let may = if options.allow_replay { "it may replay dead letters" } else { "read-only" };
    println!("\n  http://localhost:{port}   the console of {}: {may}\n\n  Ctrl-C stops it.\n", cloud.project);
    serve(listener, deployment.console(port), TaskTracker::new()).await.map_err(|error| error.to_string())
}

/// The emulators have no Cloud Monitoring.
fn ports(cloud: &Cloud) -> Result<(Rest, Option<Monitoring>), NoClient> {
    let names: Names = cloud.names();
    Ok(match &cloud.pubsub_emulator {
        Some(host) => (Rest::local(&format!("http://{host}"), &names)?, None),
        None => (Rest::cloud(&names)?, Some(Monitoring::cloud(&names)?)),
    })
}
