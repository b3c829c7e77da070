//! Commands: requests that change documents and publish events.

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
    Context, Failure, Problem, Runtime, SignedIn,
    http::read_body,
    json::{describe, read_object},
    key::{Key, digest},
    message::Outbox,
    receipt::{self, Answer, Done, State},
    store::Precondition,
    trace::{Trace, only},
    transaction::{Sealed, transact},
    wire::header::IDEMPOTENCY_KEY,
};

/// A request that changes documents: its body, and the identity by which a repeat is recognised.
pub struct Command<T> {
    /// The request's body.
    pub body: T,
    runtime: Runtime,
    key: Key,
    fingerprint: String,
    trace: Trace,
}

/// The answer to a [`Command`]. The receipt stores it for a caller that repeats the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// JSON as text, because Firestore cannot store every JSON value.
    body: String,
    /// Why the body is not JSON. No receipt holds such a reply.
    #[serde(skip)]
    mistake: Option<String>,
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

    /// 202 with this body: another service continues the work.
    pub fn accepted(body: &impl Serialize) -> Self {
        Self::new(StatusCode::ACCEPTED, body)
    }

    /// Adds the location of the new resource, relative to the request's path.
    #[must_use]
    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    /// The body, for a route that answers with more than the receipt may hold. See [`Command::with_fingerprint`].
    ///
    /// # Errors
    /// [`Failure::Retry`] if the body is not a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(serde_json::from_str(&self.body)?)
    }

    fn new(status: StatusCode, body: &impl Serialize) -> Self {
        let (body, mistake) = match serde_json::to_string(body) {
            Ok(body) => (body, None),
            Err(error) => (String::new(), Some(format!("the reply is not JSON: {}", describe(&error)))),
        };
        Self { status: status.as_u16(), location: None, body, mistake }
    }

    /// An error if the body is not JSON.
    fn checked(self) -> Result<Self, Problem> {
        match self.mistake {
            Some(mistake) => Err(Problem::mistake(mistake)),
            None => Ok(self),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        if let Some(mistake) = self.mistake {
            return Problem::mistake(mistake).into_response();
        }
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
        let user = request.extensions().get().map(SignedIn::user).map(str::to_owned);
        must_be_json(&headers).map_err(IntoResponse::into_response)?;
        let bytes = read_body(runtime, &headers, request).await.map_err(IntoResponse::into_response)?;
        // A route that needs no fields takes a request without a body.
        let json = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        let body = parse(json).map_err(IntoResponse::into_response)?;
        let text = String::from_utf8_lossy(&bytes);
        // Without the header, the request gets a random key, so a repeat is not recognised and runs again.
        let key = key.unwrap_or_else(|| runtime.ports().random.nonce());
        Ok(Self {
            body,
            runtime: runtime.clone(),
            key: Key::command(&route, user.as_deref(), &key),
            fingerprint: digest(&[&route, &text]),
            trace,
        })
    }
}

impl<T> Command<T> {
    /// The same command, recognised by `fingerprint` instead of by its body.
    ///
    /// The receipt holds a fingerprint of the request and the whole reply. By default the fingerprint is a
    /// plain hash of the body, from which a password could be guessed. A route with a secret in its body passes
    /// a fingerprint that only the holder of a key can compute. It also keeps secrets out of its [`Reply`],
    /// and adds them to the response.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: String) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// Another command of the same request, for a step that counts each attempt: no repeat is recognised.
    #[must_use]
    pub fn aside(&self) -> Command<()> {
        Command {
            body: (),
            runtime: self.runtime.clone(),
            key: Key::command("step", None, &self.runtime.ports().random.nonce()),
            fingerprint: String::new(),
            trace: self.trace.clone(),
        }
    }

    /// Runs `handler` in a transaction, commits its staged writes together with its reply, and publishes its
    /// events. A repeat with the same idempotency key gets the first reply.
    ///
    /// Once the runtime knows that the commit succeeded, the caller gets the reply, even if the events cannot be
    /// published now. `POST /relay` publishes them later.
    ///
    /// # Errors
    /// The handler's error, 422 if the idempotency key came with another request before, 500 if the reply's body cannot be
    /// JSON, or 503.
    pub async fn run<I, F, Fut>(self, input: I, handler: F) -> Result<Reply, Problem>
    where
        I: Clone,
        F: Fn(I, Context) -> Fut,
        Fut: Future<Output = Result<Reply, Problem>>,
    {
        let Self { runtime, key, fingerprint, trace, .. } = self;
        let subject = runtime.subject_of_command(key, trace);
        let sealed = transact(
            &runtime,
            &subject,
            Precondition::Absent,
            |cx| {
                let handled = handler(input.clone(), cx);
                async { handled.await.and_then(Reply::checked) }
            },
            |reply, outbox: Outbox| {
                let answer = Some(Answer { fingerprint: fingerprint.clone(), reply });
                let pending = !outbox.is_empty();
                Ok(State::Done(Done { answer, pending, ..Done::new(outbox) }))
            },
        );
        let late = |_| Failure::Retry("the store did not answer in time".to_owned());
        let sealed = timeout(runtime.timing().command, sealed).await.map_err(late)??;
        let (receipt, version) = match sealed {
            Sealed::Ours(receipt, version) => (receipt, version),
            Sealed::Existing(found) => (found.receipt, found.version),
        };
        let State::Done(Done { answer: Some(answer), pending, .. }) = receipt.state.clone() else {
            return Err(no_answer());
        };
        if answer.fingerprint != fingerprint {
            let detail = "This Idempotency-Key came with another request before.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        if pending {
            let path = receipt::path(subject.service, &subject.key);
            let relay = runtime.relay_command(path, receipt, version);
            match timeout(runtime.timing().relay_patience, relay).await {
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

fn no_answer() -> Problem {
    Failure::Retry("the receipt of a command holds no answer".to_owned()).into()
}

/// The key is a [structured-field string](https://www.rfc-editor.org/rfc/rfc9651#name-strings). In practice,
/// clients also send it without quotes.
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
        let detail = "An Idempotency-Key must occur once. It has 1 to 255 printable ASCII characters, in double quotes \
                      or without quotes and commas.";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// Removes the escapes from the text between the quotes.
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
