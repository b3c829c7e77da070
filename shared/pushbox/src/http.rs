//! The routes that every service has, what stands before all of them, and serving them.

use std::{future::pending, io, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    body::{Bytes, HttpBody},
    extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_ENCODING},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::FutureExt;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, info_span};

use crate::{Outcome, Problem, Runtime, consume::consume, delivery::Delivery, problem, timing, trace::Trace};

/// A message has up to 10 MB of data, which grow by a third in base64, and 100 attributes.
const LARGEST_PUSH: usize = 16 << 20;

/// How many bytes the bodies of the pushes in flight have at most: four of the largest.
///
/// While a body is put together from its parts it is there twice. Then a push holds its body and,
/// decoded from base64, its data; and at last the data and the event. So the pushes of an instance hold
/// some 180 MiB at most, and what their handlers make of them comes on top. The bodies of a service's
/// own routes add [`LARGEST_BODY`] for each request.
const IN_FLIGHT: usize = 4 * LARGEST_PUSH;

/// Called each minute.
const RELAY: &str = "/relay";

/// What every service has beside its own routes.
pub(crate) const ROUTES: [(&str, &str); 3] = [("POST", "/"), ("POST", RELAY), ("GET", "/healthz")];

/// What callers of a service's own routes may send.
const LARGEST_BODY: usize = 256 << 10;

/// Tells what became of a push, since Pub/Sub's answer has the same status for several outcomes.
const OUTCOME: HeaderName = HeaderName::from_static("pushbox-outcome");

pub(crate) fn router(runtime: Runtime, routes: Router<Runtime>) -> Router {
    let budget = Arc::new(Semaphore::new(IN_FLIGHT));
    let push = |State(runtime): State<Runtime>, request: Request| push(runtime, budget, request);
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

async fn push(runtime: Runtime, budget: Arc<Semaphore>, request: Request) -> Response {
    let answer = tokio::time::timeout(timing::PUSH_DEADLINE, deliver(&runtime, budget, request));
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ([(OUTCOME, "retry")], late()).into_response(),
        Err(_) => ([(OUTCOME, "panicked")], panicked()).into_response(),
    }
}

async fn deliver(runtime: &Runtime, budget: Arc<Semaphore>, mut request: Request) -> Response {
    let began = Instant::now();
    let headers = std::mem::take(request.headers_mut());
    let (delivery, _in_flight) = match receive(runtime, budget, &headers, request).await {
        Ok(received) => received,
        Err(problem) => {
            tracing::warn!(service = runtime.name(), reason = %problem, "push refused");
            return problem.into_response();
        }
    };
    let trace = delivery.trace(&headers);
    let span = info_span!("delivery", service = runtime.name(), traceparent = %trace);
    async {
        let outcome = consume(runtime, &delivery, trace).await;
        log_delivery(&delivery, &outcome, began);
        answer(&outcome)
    }
    .instrument(span)
    .await
}

fn answer(outcome: &Outcome) -> Response {
    let name = match outcome {
        Outcome::Handled => "handled",
        Outcome::Duplicate => "duplicate",
        Outcome::Ignored => "ignored",
        Outcome::Retry(_) => "retry",
        Outcome::Rejected(_) => "rejected",
        Outcome::Panicked => "panicked",
    };
    let mut response = outcome.status().into_response();
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(name));
    problem::add_advice(&mut response);
    response
}

async fn receive(
    runtime: &Runtime,
    budget: Arc<Semaphore>,
    headers: &HeaderMap,
    mut request: Request,
) -> Result<(Delivery, OwnedSemaphorePermit), Problem> {
    // Before the body is read: strangers do not get to send 16 MB.
    runtime.auth().check(headers).await?;
    let in_flight = reserve(budget, &request)?;
    DefaultBodyLimit::max(LARGEST_PUSH).apply(&mut request);
    let body = read_body(headers, request).await?;
    let delivery = Delivery::parse(headers, body);
    Ok((delivery.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))?, in_flight))
}

/// Takes the room that the body needs, before it is read. A body without a length takes the most that
/// it may have.
fn reserve(budget: Arc<Semaphore>, request: &Request) -> Result<OwnedSemaphorePermit, Problem> {
    let length = request.body().size_hint().upper().unwrap_or(LARGEST_PUSH as u64);
    let length = u32::try_from(length).ok().filter(|length| *length as usize <= LARGEST_PUSH);
    let length =
        length.ok_or_else(|| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "A push has 16 MiB at most."))?;
    budget.try_acquire_many_owned(length).map_err(|_| {
        let detail = "The pushes that are being handled take all the memory that they may have.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })
}

/// Reads a body, which must not be compressed, up to the limit of its route.
pub(crate) async fn read_body(headers: &HeaderMap, request: Request) -> Result<Bytes, Problem> {
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        let detail = "The body must come without a Content-Encoding.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let reading = tokio::time::timeout(timing::BODY_DEADLINE, Bytes::from_request(request, &()));
    let body = reading
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."))?;
    body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

/// One line for each delivery.
fn log_delivery(delivery: &Delivery, outcome: &Outcome, began: Instant) {
    let event_type = delivery.event_type().ok().flatten();
    macro_rules! line {
        ($level:ident, $outcome:literal $(, $reason:expr)?) => {
            tracing::$level!(
                outcome = $outcome,
                eventType = event_type.as_deref(),
                key = %delivery.key(),
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
    let mut response = (status, Json(relayed)).into_response();
    problem::add_advice(&mut response);
    Ok(response)
}

/// One line for each request to a service's own routes. It has the route, not the path or the
/// query, which may hold personal data.
async fn log_request(State(runtime): State<Runtime>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let trace = Trace::of_request(request.headers());
    let span = info_span!("request", service = runtime.name(), traceparent = %trace);
    // A command's events go on in it.
    request.extensions_mut().insert(trace);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
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
