//! Producers: routes that change something and publish what happened.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Context, Failure, Problem, Runtime,
    json::read_object,
    receipt::{self, Answer, digest},
    store::Precondition,
    timing,
    trace::{Trace, traceparent},
    transaction::{Sealed, transact},
};

/// The header by which a caller may repeat a request without doing its work twice.
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request to change something: its body, and what makes a repeat of it recognisable.
pub struct Command<T> {
    /// The request's body.
    pub body: T,
    runtime: Runtime,
    key: String,
    fingerprint: String,
    trace: Trace,
}

/// The answer to a [`Command`], kept in its receipt for the caller who asks again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// JSON as text: Firestore does not hold every JSON value.
    body: String,
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: &impl Serialize) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// 201 with this body.
    pub fn created(body: &impl Serialize) -> Self {
        Self::new(StatusCode::CREATED, body)
    }

    /// 202 with this body: the work goes on elsewhere.
    pub fn accepted(body: &impl Serialize) -> Self {
        Self::new(StatusCode::ACCEPTED, body)
    }

    /// Says where the new thing is, relative to the request's path.
    #[must_use]
    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    fn new(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).unwrap_or_default();
        Self { status: status.as_u16(), location: None, body }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let location = self.location.map(|location| [(LOCATION, location)]);
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        (status, location, Json(body)).into_response()
    }
}

impl<T: DeserializeOwned> FromRequest<Runtime> for Command<T> {
    type Rejection = Response;

    async fn from_request(request: Request, runtime: &Runtime) -> Result<Self, Response> {
        let route = format!("{} {}", request.method(), request.uri().path());
        let (key, trace) = {
            let headers = request.headers();
            let key = idempotency_key(headers).map_err(IntoResponse::into_response)?;
            (key, Trace::continued(traceparent(headers)))
        };
        let bytes = Bytes::from_request(request, runtime).await.map_err(IntoResponse::into_response)?;
        let body = parse(&bytes).map_err(IntoResponse::into_response)?;
        let text = String::from_utf8_lossy(&bytes);
        // A request without the header is its own: nobody can repeat it.
        let key = key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        Ok(Self {
            body,
            runtime: runtime.clone(),
            key: format!("{route} {key}"),
            fingerprint: digest(&[&route, &text]),
            trace,
        })
    }
}

impl<T> Command<T> {
    /// Runs `handler` in a transaction, commits its reply with what it staged, and publishes its
    /// events. A repeat with the same idempotency key gets the first one's reply.
    ///
    /// Once this has committed, the caller gets the reply: events that cannot be published now are
    /// published by `POST /relay`.
    ///
    /// # Errors
    /// The handler's, 422 for an idempotency key that came with another body before, or 503.
    pub async fn run<I, F, Fut>(self, input: I, handler: F) -> Result<Reply, Problem>
    where
        I: Clone,
        F: Fn(I, Context) -> Fut,
        Fut: Future<Output = Result<Reply, Problem>>,
    {
        let Self { runtime, key, fingerprint, trace, .. } = self;
        let subject = runtime.subject(key, None, trace);
        let sealed = transact(
            &runtime,
            &subject,
            Precondition::Absent,
            |cx| handler(input.clone(), cx),
            |reply, receipt| {
                receipt.answer = Some(Answer { fingerprint: fingerprint.clone(), reply });
                receipt.pending = !receipt.events.is_empty();
                Ok(())
            },
        );
        let (Sealed::Ours(receipt, version) | Sealed::Theirs(receipt, version)) = sealed.await?;
        let answer = receipt
            .answer
            .clone()
            .ok_or_else(|| Failure::Retry("the receipt of a command holds no answer".to_owned()))?;
        if answer.fingerprint != fingerprint {
            let detail = "This Idempotency-Key came with another request before.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        if receipt.pending {
            let path = receipt::path(subject.service, &subject.key);
            let relay = runtime.relay_pending(path, receipt, version);
            match tokio::time::timeout(timing::RELAY_PATIENCE, relay).await {
                Ok(Ok(())) => {}
                Ok(Err(Failure::Retry(error) | Failure::Reject(error))) => {
                    tracing::warn!(error, "events stay pending");
                }
                Err(_) => tracing::warn!("events stay pending: no answer in time"),
            }
        }
        Ok(answer.reply)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        // The draft has it as a quoted string; in practice it comes without the quotes.
        Ok(text) if (1..=255).contains(&text.trim_matches('"').len()) => {
            Ok(Some(text.trim_matches('"').to_owned()))
        }
        _ => {
            let detail = "An Idempotency-Key has 1 to 255 printable ASCII characters.";
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    read_object(body).map_err(|error| {
        let status = if error.is_json { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        let kind = if error.is_json { "" } else { "not JSON: " };
        Problem::field(status, &error.pointer, format_args!("{kind}{}", error.reason))
    })
}
