//! The HTTP side of a service: the routes that every service has, the layers before them, and the server.

use std::{future::pending, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Bytes, HttpBody},
    extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_ENCODING},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, info_span};

use crate::{
    Outcome, Problem, Runtime,
    consume::consume,
    dead_letter::give_up,
    delivery::Delivery,
    guard::{Guarded, guard},
    key::Key,
    problem,
    trace::Trace,
    wire,
};

/// A message has at most 10 MB of data, which grow by a third in base64, and 100 attributes.
const LARGEST_PUSH: usize = 16 << 20;

/// The most bytes of all bodies of the pushes in flight: four of the largest.
///
/// A push needs the most memory while its data is decoded: the body, the base64 text (a copy, if the JSON
/// escapes it) and the decoded data, which is three quarters of the text. That is 2.75 times the body. So the
/// pushes of an instance need at most about 180 MiB, without the memory of their handlers. Each request to a
/// service's own routes adds [`LARGEST_BODY`].
const IN_FLIGHT: usize = 4 * LARGEST_PUSH;

/// Cloud Scheduler calls it every minute.
const RELAY: &str = "/relay";

/// The routes that every service has besides its own.
pub(crate) const ROUTES: [(&str, &str); 3] = [("POST", "/"), ("POST", RELAY), ("GET", "/healthz")];

/// The most bytes of a request to a service's own routes.
const LARGEST_BODY: usize = 256 << 10;

/// The time between SIGTERM and the end of the process. Cloud Run kills an instance
/// [10 seconds](https://cloud.google.com/run/docs/container-contract#instance-shutdown) after SIGTERM.
const SHUTDOWN: Duration = Duration::from_secs(9);

/// Names the outcome of a push, because several outcomes share a status.
const OUTCOME: HeaderName = HeaderName::from_static(wire::header::OUTCOME);

pub(crate) fn router(runtime: Runtime, routes: Router<Runtime>) -> Router {
    let budget = Arc::new(Semaphore::new(IN_FLIGHT));
    let push = |State(runtime): State<Runtime>, request: Request| push(runtime, budget, request);
    routes
        .route(RELAY, post(relay))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(runtime.clone(), deadline))
        .layer(CatchPanicLayer::custom(|_| Problem::panicked().into_response()))
        .layer(from_fn_with_state(runtime.clone(), log_request))
        .route("/healthz", get(|| async { "ok" }))
        .layer(from_fn(problem::for_every_error))
        // The push route is added after the layers, so none wraps it. `push` does their work without their
        // allocations.
        .route("/", post(push).fallback(|| async { Problem::wrong_method() }))
        .with_state(runtime)
}

async fn push(runtime: Runtime, budget: Arc<Semaphore>, mut request: Request) -> Response {
    let began = Instant::now();
    let deadline = began + runtime.timing().push;
    let headers = std::mem::take(request.headers_mut());
    let received = match guard(deadline, receive(&runtime, budget, &headers, request)).await {
        Guarded::Done(received) => received,
        Guarded::Late => Err(late()),
        Guarded::Panicked(_) => Err(Problem::panicked()),
    };
    let (delivery, _in_flight) = match received {
        Ok(received) => received,
        Err(problem) => {
            tracing::warn!(service = runtime.name(), reason = %problem, "push refused");
            return problem.into_response();
        }
    };
    let (key, trace) = (delivery.key(), delivery.trace(&headers));
    let span = info_span!("delivery", service = runtime.name(), traceparent = %trace);
    async {
        let outcome = match guard(deadline, consume(&runtime, &delivery, &key, trace)).await {
            Guarded::Done(outcome) => outcome,
            Guarded::Late => Outcome::Retry("the delivery's deadline passed".to_owned()),
            Guarded::Panicked(_) => Outcome::Panicked,
        };
        let outcome = give_up(&runtime, &delivery, &key, outcome, deadline + runtime.timing().give_up).await;
        log_delivery(&delivery, &key, &outcome, began);
        answer(&outcome)
    }
    .instrument(span)
    .await
}

fn answer(outcome: &Outcome) -> Response {
    let mut response = outcome.status().into_response();
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome.name()));
    problem::add_advice(&mut response);
    response
}

async fn receive(
    runtime: &Runtime,
    budget: Arc<Semaphore>,
    headers: &HeaderMap,
    mut request: Request,
) -> Result<(Delivery, OwnedSemaphorePermit), Problem> {
    // This is before the body, so that unauthenticated callers cannot send 16 MB.
    runtime.auth().check(headers).await?;
    let in_flight = reserve(budget, &request)?;
    DefaultBodyLimit::max(LARGEST_PUSH).apply(&mut request);
    let body = read_body(runtime, headers, request).await?;
    let delivery = Delivery::parse(headers, body);
    Ok((delivery.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))?, in_flight))
}

/// Reserves the memory for the body before it is read. A body without a length reserves the maximum.
fn reserve(budget: Arc<Semaphore>, request: &Request) -> Result<OwnedSemaphorePermit, Problem> {
    let length = request.body().size_hint().upper().unwrap_or(LARGEST_PUSH as u64);
    let length = u32::try_from(length).ok().filter(|length| *length as usize <= LARGEST_PUSH);
    let length =
        length.ok_or_else(|| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "A push has 16 MiB at most."))?;
    budget.try_acquire_many_owned(length).map_err(|_| {
        let detail = "The pushes in flight use all the memory reserved for them.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })
}

/// Reads an uncompressed body, up to the limit of its route.
pub(crate) async fn read_body(
    runtime: &Runtime,
    headers: &HeaderMap,
    request: Request,
) -> Result<Bytes, Problem> {
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        let detail = "The body must come without a Content-Encoding.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let reading = timeout(runtime.timing().body, Bytes::from_request(request, &()));
    let body = reading
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."))?;
    body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

/// Logs one line for each delivery.
fn log_delivery(delivery: &Delivery, key: &Key, outcome: &Outcome, began: Instant) {
    let (name, event_type) = (outcome.name(), delivery.event_type().ok().flatten());
    macro_rules! line {
        ($level:ident $(, $reason:expr)?) => {
            tracing::$level!(
                outcome = name,
                eventType = event_type.as_deref(),
                key = %key,
                messageId = delivery.message_id,
                subscription = delivery.subscription,
                attempt = delivery.attempt,
                milliseconds = began.elapsed().as_millis() as u64,
                $(reason = $reason.as_str(),)?
                "delivery: {name}"
            )
        };
    }
    match outcome {
        Outcome::Handled | Outcome::Duplicate | Outcome::Ignored => line!(info),
        Outcome::Retry(reason) => line!(warn, reason),
        Outcome::Rejected(reason) => line!(error, reason),
        Outcome::Panicked => line!(error),
    }
}

async fn relay(State(runtime): State<Runtime>, headers: HeaderMap) -> Result<Response, Problem> {
    runtime.auth().check(&headers).await?;
    let relayed = runtime.relay_all_pending().await?;
    if relayed.events > 0 {
        tracing::info!(events = relayed.events, failed = relayed.failed, "pending events relayed");
    }
    let status = if relayed.failed == 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(relayed)).into_response();
    problem::add_advice(&mut response);
    Ok(response)
}

/// Logs one line for each request to a service's own routes. The line names the route and not the path or the
/// query, which may contain personal data. An answer 5xx with a cause logs a second line, in
/// `Problem::into_response`.
async fn log_request(State(runtime): State<Runtime>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let trace = Trace::of_request(request.headers());
    let span = info_span!("request", service = runtime.name(), traceparent = %trace);
    // The events of a command continue this trace.
    request.extensions_mut().insert(trace);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    async {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        let milliseconds = began.elapsed().as_millis() as u64;
        let (method, route) = (Method::as_str(&method), route.unwrap_or_default());
        match status {
            // The relay has logged its own line.
            200 if route == RELAY => tracing::debug!(method, route, status, milliseconds, "request"),
            ..500 => tracing::info!(method, route, status, milliseconds, "request"),
            _ => tracing::error!(method, route, status, milliseconds, "request"),
        }
        response
    }
    .instrument(span)
    .await
}

async fn deadline(State(runtime): State<Runtime>, request: Request, next: Next) -> Response {
    let answer = timeout(runtime.timing().request, next.run(request));
    answer.await.unwrap_or_else(|_| late().into_response())
}

fn late() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "This took too long. Please try again.")
}

/// Serves until SIGTERM or Ctrl-C. Then it finishes the requests in flight and the work in the background,
/// for at most 9 seconds.
///
/// # Errors
/// The listener's error.
pub async fn serve(listener: TcpListener, app: Router, background: TaskTracker) -> io::Result<()> {
    let (stop, mut stopped) = watch::channel(());
    let shutdown = async move {
        if let Err(error) = told_to_stop().await {
            tracing::error!(%error, "cannot listen for signals");
            pending::<()>().await;
        }
        drop(stop);
    };
    let finished = async {
        axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
        background.close();
        background.wait().await;
        Ok(())
    };
    let out_of_time = async {
        // `changed` returns an error when the sender is dropped.
        while stopped.changed().await.is_ok() {}
        tokio::time::sleep(SHUTDOWN).await;
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

/// Waits for SIGTERM or Ctrl-C, which end [`serve`].
///
/// # Errors
/// If the process cannot listen for signals.
pub async fn told_to_stop() -> io::Result<()> {
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
