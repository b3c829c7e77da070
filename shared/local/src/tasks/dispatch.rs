//! Carries out due tasks.

use std::{convert::Infallible, future::pending, time::Duration};

use pushbox::publisher::Publisher;
use reqwest::{Client, Method, redirect};
use tokio::task::JoinSet;

use super::{Queues, Tasks, Work};

/// Cloud Tasks' `dispatchDeadline`, as the runtime sets it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Carries out due tasks until the future is dropped.
///
/// # Errors
/// If the HTTP client cannot be built.
pub(super) async fn run_all(tasks: Tasks) -> Result<Infallible, reqwest::Error> {
    let client = Client::builder()
        // The targets are on this machine, even if it has a proxy.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .tls_certs_only([])
        .timeout(DEADLINE)
        .build()?;
    // Dropped with this future, which aborts all attempts.
    let mut attempts = JoinSet::new();
    loop {
        for due in tasks.act(Queues::due) {
            let (tasks, client) = (tasks.clone(), client.clone());
            attempts.spawn(async move {
                let result = attempt(&client, &*tasks.0.publisher, &due.work).await;
                if let Err(reason) = &result {
                    tracing::warn!(queue = due.queue, task = due.id, reason, "a task has failed");
                }
                tasks.with(|queues, now| queues.ended(&due, result.is_ok(), now));
            });
        }
        let next = tasks.act(|queues, now| queues.next_wakeup().map(|next| next.duration_since(now)));
        // The pause is negative if the next wakeup is already overdue.
        let pause = next.map(|pause| Duration::try_from(pause).unwrap_or_default());
        let nothing_new = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = tasks.0.changed.notified() => {}
            () = nothing_new => {}
        }
        while attempts.try_join_next().is_some() {}
    }
}

async fn attempt(client: &Client, publisher: &dyn Publisher, work: &Work) -> Result<(), String> {
    match work {
        Work::Publish(message) => {
            publisher.publish(message.clone()).await.map(drop).map_err(|error| error.to_string())
        }
        Work::Request { method, url, headers, body } => {
            let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
            let mut request = client.request(method, url).body(body.clone());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let status = request.send().await.map_err(|error| error.to_string())?.status();
            if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
        }
    }
}
