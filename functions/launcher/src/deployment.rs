//! `functions console`: the console of a project, or of emulators.

use std::sync::Arc;

use clap::Args;
use local::Deployment;
use pushbox::serve;
use tokio_util::task::TaskTracker;

use crate::{
    environment::{Cloud, listen_here, start_logging},
    systems,
    terminal::print,
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
    let (listener, port) = listen_here(PORT, "functions console").await?;
    let rest = Arc::new(cloud.pubsub_rest()?);
    let deployment = Deployment {
        catalog: systems::catalog()?,
        names: cloud.names(),
        store: Arc::new(cloud.firestore()),
        subscriber: rest.clone(),
        publisher: rest,
        monitoring: cloud.monitoring()?,
        may_replay: options.allow_replay,
    };
    let may = if options.allow_replay { "it may replay dead letters" } else { "read-only" };
    print(&format!(
        "\n  http://localhost:{port}   the console of {}: {may}\n\n  Ctrl-C stops it.\n\n",
        cloud.project
    ))?;
    serve(listener, deployment.console(port), TaskTracker::new()).await.map_err(|error| error.to_string())
}
