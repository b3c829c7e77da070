//! Producers: routes that change something and publish what happened.

use axum::{
    Json,
    extract::{FromRequest, Request},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    Context, Failure, Problem, Runtime,
    http::read_body,
    json::read_object,
    key::{Key, digest},
    receipt::{self, Answer, Done, State},
    store::Precondition,
    timing,
    trace::{Trace, only},
    transaction::{Seal, Sealed, transact},
};

/// The header by which a caller may repeat a request without doing its work twice.
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request to change something: its body, and what makes a repeat of it recognisable.
pub struct Command<T> {
    /// The request's body.
    pub body: T,
    runtime: Runtime,
    key: Key,
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

    async fn from_request(mut request: Request, runtime: &Runtime) -> Result<Self, Response> {
        let route = format!("{} {}", request.method(), request.uri().path());
        let headers = std::mem::take(request.headers_mut());
        let key = idempotency_key(&headers).map_err(IntoResponse::into_response)?;
        let trace = request.extensions().get().cloned().unwrap_or_else(|| Trace::of_request(&headers));
        must_be_json(&headers).map_err(IntoResponse::into_response)?;
        let bytes = read_body(&headers, request).await.map_err(IntoResponse::into_response)?;
        let body = parse(&bytes).map_err(IntoResponse::into_response)?;
        let text = String::from_utf8_lossy(&bytes);
        // Without the header, the request gets a key that nobody knows, so nobody can repeat it.
        let key = key.unwrap_or_else(|| runtime.ports().random.nonce());
        Ok(Self {
            body,
            runtime: runtime.clone(),
            key: Key::command(&route, &key),
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
        let subject = runtime.subject(key, None, None, trace);
        let sealed = transact(
            &runtime,
            &subject,
            Precondition::Absent,
            |cx| handler(input.clone(), cx),
            |reply, events| {
                let answer = Some(Answer { fingerprint: fingerprint.clone(), reply });
                let pending = !events.is_empty();
                Ok(Seal::Write(State::Done(Done { events, answer, pending })))
            },
        );
        let late = |_| Failure::Retry("the store did not answer in time".to_owned());
        let sealed = timeout(timing::COMMAND_DEADLINE, sealed).await.map_err(late)??;
        let (receipt, version) = match sealed {
            Sealed::Ours(receipt, version) => (receipt, version),
            Sealed::Theirs(found) => (found.receipt, found.version),
        };
        let State::Done(Done { answer: Some(answer), pending, .. }) = receipt.state.clone() else {
            return Err(Failure::Retry("the receipt of a command holds no answer".to_owned()).into());
        };
        if answer.fingerprint != fingerprint {
            let detail = "This Idempotency-Key came with another request before.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        if pending {
            let path = receipt::path(subject.service, &subject.key);
            let relay = runtime.relay_command(path, receipt, version);
            match timeout(timing::RELAY_PATIENCE, relay).await {
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

/// The key is a [string of structured fields](https://www.rfc-editor.org/rfc/rfc9651#name-strings). In
/// practice it also comes without the quotes.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    let key = only(headers, IDEMPOTENCY_KEY).and_then(|text| match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted.strip_suffix('"')?),
        // A comma would make it a list.
        None => (!text.contains(['"', ',', '\t'])).then(|| text.to_owned()),
    });
    key.filter(|key| (1..=255).contains(&key.len())).map(Some).ok_or_else(|| {
        let detail = "An Idempotency-Key comes once. It has 1 to 255 printable ASCII characters, in double quotes \
                      or without quotes and commas.";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// What stands between the quotes, where each quote and backslash has a backslash before it.
fn unquoted(text: &str) -> Option<String> {
    let mut characters = text.chars();
    let mut unquoted = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        unquoted.push(match character {
            '\\' => characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            ' '..='~' if character != '"' => character,
            _ => return None,
        });
    }
    Some(unquoted)
}

/// A body without a type counts as JSON.
fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let media = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let has_suffix =
        media.get(media.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case("+json"));
    if media.eq_ignore_ascii_case("application/json") || has_suffix {
        return Ok(());
    }
    let detail = "The body must be JSON, and its Content-Type application/json.";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    read_object(body).map_err(|error| {
        let status = if error.is_json { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        let kind = if error.is_json { "" } else { "not JSON: " };
        Problem::field(status, &error.pointer, format_args!("{kind}{}", error.reason))
    })
}
