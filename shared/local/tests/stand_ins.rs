//! The stand-in for Cloud Tasks, used by clients that others have written: `gcloud`, and Google's client for Python.
//!
//! `python3` on the `PATH` must have the packages that scripts/test installs in target/venv.

#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command, sync::Arc};

use catalog::Catalog;
use local::{Broker, DeliveryPolicy, Tasks};
use tokio::{net::TcpListener, task::spawn_blocking};

/// Starts the stand-in without any queue, and returns its URL.
async fn start() -> String {
    let catalog = Catalog::of(&[]);
    let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
    let tasks = Tasks::new(&catalog, Arc::new(broker));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, tasks.app()).into_future());
    tokio::spawn(tasks.run());
    url
}

/// Runs `gcloud tasks`, and returns its status, its output and its errors.
fn gcloud(url: &str, arguments: &str) -> (bool, String, String) {
    let output = Command::new("gcloud")
        .arg("tasks")
        .args(arguments.split(' '))
        .args(["--location=us-central1", "--quiet"])
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS", format!("{url}/"))
        .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
        .env("CLOUDSDK_CORE_PROJECT", "local")
        .env("CLOUDSDK_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/gcloud-tasks"))
        .output()
        .expect("gcloud on the PATH");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn gcloud_manages_tasks() {
    let url = start().await;
    let create = "create-http-task a --queue=q --url=http://127.0.0.1:1/none --method=POST --body-content=hello \
                  --schedule-time=2100-01-01T00:00:00Z";
    let soon = create.replace("2100-01-01T00:00:00Z", "2026-01-01T00:00:00Z").replace(" a ", " b ");
    let cases: [(&str, bool, &str); 12] = [
        ("queues create q", true, ""),
        ("queues create q", false, "there is a queue q already"),
        ("queues describe q --format=value(state)", true, "RUNNING"),
        (create, false, "more than 720 hours in the future"),
        (&soon, true, "b"),
        (&soon, false, "there is, or was, a task b"),
        ("list --queue=q --format=value(name)", true, "b"),
        ("describe b --queue=q --format=value(httpRequest.httpMethod)", true, "POST"),
        ("delete b --queue=q", true, ""),
        ("describe b --queue=q", false, "there is no task b"),
        ("list --queue=other", false, "there is no queue other"),
        ("queues purge q", true, ""),
    ];
    for (arguments, succeeds, expected) in cases {
        let (from, arguments) = (url.clone(), arguments.to_owned());
        let asked = arguments.clone();
        let (succeeded, printed, errors) = spawn_blocking(move || gcloud(&from, &asked)).await.unwrap();
        assert_eq!(succeeded, succeeds, "gcloud tasks {arguments}: {printed}{errors}");
        assert!(
            format!("{printed}{errors}").contains(expected),
            "gcloud tasks {arguments}: {printed}{errors}"
        );
    }
}

#[tokio::test]
async fn the_client_for_python_creates_runs_and_deletes_tasks() {
    let url = start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud_tasks_client.py");
    let run = move || Command::new("python3").arg(script).arg(url).output().expect("python3 on the PATH");
    let output = spawn_blocking(run).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "PATH=$PWD/target/venv/bin:$PATH may be missing: {errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all is as with Cloud Tasks\n");
}
