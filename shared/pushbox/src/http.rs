//! The routes that every service has, what stands before all of them, and serving them.

use std::{future::pending, io, panic::AssertUnwindSafe, time::Instant};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::FutureExt;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, info_span};

use crate::{
    Problem, Runtime,
    consume::{Outcome, consume},
    delivery::Delivery,
    problem, timing,
    trace::{TRACEPARENT, Trace, traceparent},
};

/// A message has up to 10 MB of data, which grow by a third in base64, and 100 attributes.
const LARGEST_PUSH: usize = 16 << 20;

/// Called each minute.
const RELAY: &str = "/relay";

/// What callers of a service's own routes may send.
const LARGEST_BODY: usize = 256 << 10;

pub(crate) fn router(runtime: Runtime, routes: Router<Runtime>) -> Router {
    routes
        .route(RELAY, post(relay))
        .layer(from_fn_with_state(runtime.clone(), log_request))
        .route("/healthz", get(|| async { "ok" }))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn(deadline))
        .layer(CatchPanicLayer::custom(|_| panicked().into_response()))
        .layer(from_fn(problem::for_every_error))
        // Below all layers: each costs allocations, and a push sees to the same itself.
        .route("/", post(push).fallback(|| async { Problem::wrong_method() }))
        .with_state(runtime)
}

async fn push(State(runtime): State<Runtime>, request: Request) -> Result<StatusCode, Problem> {
    let answer = tokio::time::timeout(timing::REQUEST_DEADLINE, deliver(&runtime, request));
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or_else(|_| Ok(Err(panicked()))).unwrap_or_else(|_| Err(late()))
}

async fn deliver(runtime: &Runtime, mut request: Request) -> Result<StatusCode, Problem> {
    let began = Instant::now();
    let headers = std::mem::take(request.headers_mut());
    let delivery = receive(runtime, &headers, request).await.inspect_err(|problem| {
        tracing::warn!(service = runtime.name(), reason = %problem, "push refused");
    })?;
    let trace = Trace::continued(delivery.attribute(TRACEPARENT).or_else(|| traceparent(&headers)));
    let span = info_span!("delivery", service = runtime.name(), traceparent = %trace);
    async {
        let outcome = consume(runtime, &delivery, trace).await;
        log_delivery(&delivery, &outcome, began);
        Ok(outcome.status())
    }
    .instrument(span)
    .await
}

async fn receive(runtime: &Runtime, headers: &HeaderMap, mut request: Request) -> Result<Delivery, Problem> {
    // Before the body is read: strangers do not get to send 16 MB.
    runtime.auth().check(headers).await?;
    DefaultBodyLimit::max(LARGEST_PUSH).apply(&mut request);
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    Delivery::parse(headers, body).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))
}

/// One line for each delivery.
fn log_delivery(delivery: &Delivery, outcome: &Outcome, began: Instant) {
    let event_type = delivery.event_type().ok().flatten();
    macro_rules! line {
        ($level:ident, $outcome:literal $(, $reason:expr)?) => {
            tracing::$level!(
                outcome = $outcome,
                eventType = event_type.as_deref(),
                key = delivery.key(),
                messageId = delivery.message_id,
                subscription = delivery.subscription,
                attempt = delivery.attempt,
                milliseconds = began.elapsed().as_millis() as u64,
                $(reason = $reason.as_str(),)?
                concat!("delivery: ", $outcome)
            )
        };
    }
    match outcome {
        Outcome::Handled => line!(info, "handled"),
        Outcome::Duplicate => line!(info, "duplicate"),
        Outcome::Ignored => line!(info, "ignored"),
        Outcome::Retry(reason) => line!(warn, "retry", reason),
        Outcome::Rejected(reason) => line!(error, "reject", reason),
        Outcome::Panicked => line!(error, "panic"),
    }
}

async fn relay(State(runtime): State<Runtime>, headers: HeaderMap) -> Result<Response, Problem> {
    runtime.auth().check(&headers).await?;
    let relayed = runtime.relay_all_pending().await?;
    if relayed.events > 0 {
        tracing::info!(events = relayed.events, failed = relayed.failed, "relayed what was pending");
    }
    let status = if relayed.failed == 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(relayed)).into_response())
}

/// One line for each request to a service's own routes. It has the route, not the path or the
/// query, which may hold personal data.
async fn log_request(State(runtime): State<Runtime>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let trace = Trace::continued(traceparent(request.headers()));
    if let Ok(value) = trace.to_string().parse() {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let span = info_span!("request", service = runtime.name(), traceparent = %trace);
    async {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        let milliseconds = began.elapsed().as_millis() as u64;
        let (method, route) = (Method::as_str(&method), route.unwrap_or_default());
        match status {
            // What it has relayed, if anything, has been logged.
            200 if route == RELAY => tracing::debug!(method, route, status, milliseconds, "request"),
            ..500 => tracing::info!(method, route, status, milliseconds, "request"),
            _ => tracing::error!(method, route, status, milliseconds, "request"),
        }
        response
    }
    .instrument(span)
    .await
}

async fn deadline(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(timing::REQUEST_DEADLINE, next.run(request));
    answer.await.unwrap_or_else(|_| late().into_response())
}

fn panicked() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "This went wrong. It has been logged.")
}

fn late() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "This took too long. Please try again.")
}

/// Serves until SIGTERM or Ctrl-C, then finishes what is in flight, and what goes on in the
/// background, for as long as Cloud Run lets it.
///
/// # Errors
/// What the listener says.
pub async fn serve(listener: TcpListener, app: Router, background: TaskTracker) -> io::Result<()> {
    let (stop, mut stopped) = watch::channel(());
    let shutdown = async move {
        let result = told_to_stop().await;
        drop(stop);
        if let Err(error) = result {
            tracing::error!(%error, "cannot listen for signals");
            pending::<()>().await;
        }
    };
    let finished = async {
        axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
        background.close();
        background.wait().await;
        Ok(())
    };
    let out_of_time = async {
        // An error is what a dropped sender looks like.
        while stopped.changed().await.is_ok() {}
        tokio::time::sleep(timing::SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        biased;
        result = finished => result,
        () = out_of_time => {
            tracing::warn!("stopped with requests in flight");
            Ok(())
        }
    }
}

async fn told_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = tokio::signal::ctrl_c() => result,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
