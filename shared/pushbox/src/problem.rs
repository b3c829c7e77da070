//! Errors as [problem details](https://www.rfc-editor.org/rfc/rfc9457), `application/problem+json`.

use std::fmt;

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{Failure, failure::Refusal};

const MEDIA_TYPE: &str = "application/problem+json";

/// The value of `Retry-After`, in seconds.
const PAUSE: HeaderValue = HeaderValue::from_static("5");

/// An error for a caller: a status, a sentence, and an entry for each invalid field.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    /// For the log, not for the caller.
    cause: Option<String>,
    /// When the caller may try again, if it is not the usual [`PAUSE`].
    retry_after_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct FieldError {
    /// A [JSON pointer](https://www.rfc-editor.org/rfc/rfc6901) as a URI fragment.
    pointer: String,
    detail: String,
}

impl Problem {
    /// A problem with this status. `detail` is a sentence that helps the caller.
    pub fn new(status: StatusCode, detail: impl fmt::Display) -> Self {
        Self {
            status,
            detail: detail.to_string(),
            errors: Vec::new(),
            cause: None,
            retry_after_seconds: None,
        }
    }

    /// Tells the caller to try again after this many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// 404: it does not exist.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format_args!("There is no such {what}."))
    }

    /// 404: no route has this path.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing at this path.")
    }

    /// 405: the path has no route for the method.
    #[must_use]
    pub fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "This path does not take this method.")
    }

    /// 500: a programming error. The log names the cause, and the answer does not.
    pub(crate) fn mistake(cause: String) -> Self {
        Self { cause: Some(cause), ..Self::panicked() }
    }

    /// 500, and the cause is in the log already.
    pub(crate) fn panicked() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "This went wrong. It has been logged.")
    }

    pub(crate) fn field(status: StatusCode, pointer: &str, detail: impl fmt::Display) -> Self {
        let mut problem = Self::new(status, "The request body is not what this route takes.");
        problem.errors.push(FieldError { pointer: format!("#{pointer}"), detail: detail.to_string() });
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.cause.as_ref().unwrap_or(&self.detail))
    }
}

/// Collects the errors of all fields of a request body, so that one answer names every invalid field.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Parses the field at `pointer` (such as `/email`), or records why that fails.
    pub fn parse<T: std::str::FromStr<Err: fmt::Display>>(&mut self, pointer: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.note(pointer, error)).ok()
    }

    /// Records an error of the field at `pointer`.
    pub fn note(&mut self, pointer: &str, detail: impl fmt::Display) {
        self.0.push(FieldError { pointer: format!("#{pointer}"), detail: detail.to_string() });
    }
}

impl From<FieldErrors> for Problem {
    fn from(errors: FieldErrors) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { errors: errors.0, ..Self::new(status, "Some fields are not valid.") }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(cause) => Self {
                cause: Some(cause),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "This did not work just now. Please try again.")
            },
            Failure::Reject(reason) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason),
        }
    }
}

impl Refusal for Problem {
    fn is_final(&self) -> bool {
        !self.status.is_server_error()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Details<'a> {
            r#type: &'static str,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [FieldError],
        }
        if let Some(cause) = &self.cause {
            tracing::error!(cause, status = self.status.as_u16(), "request failed");
        }
        let details = Details {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        };
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        add_advice(&mut response);
        response
    }
}

/// Adds the header that tells the caller how to react to some of the errors.
pub(crate) fn add_advice(response: &mut Response) {
    let (name, value) = match response.status() {
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => (RETRY_AFTER, PAUSE),
        _ => return,
    };
    response.headers_mut().entry(name).or_insert(value);
}

/// Gives the plain-text errors of axum's own extractors and routes the same form.
pub(crate) async fn for_every_error(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let has_form = content_type.is_some_and(|is| is != "text/plain; charset=utf-8");
    if !(status.is_client_error() || status.is_server_error()) || has_form {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, 4096).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let problem = match status {
        _ if !text.is_empty() => Problem::new(status, text),
        StatusCode::NOT_FOUND => Problem::no_such_path(),
        StatusCode::METHOD_NOT_ALLOWED => Problem::wrong_method(),
        _ => Problem::new(status, "The request was refused."),
    };
    parts.headers.remove("content-length");
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    let mut response = Response::from_parts(parts, Body::new(problem.into_response().into_body()));
    add_advice(&mut response);
    response
}
