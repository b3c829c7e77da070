//! The fields of a form, and the answer to an action.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header::REFERER},
    response::{IntoResponse, Redirect, Response},
};
use bytes::Bytes;
use pushbox::Problem;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::stack::wants_html;

/// The fields of a form: those of the page, or those that `curl -d` sends.
#[derive(Debug, Default)]
pub(crate) struct Form(pub(crate) BTreeMap<String, String>);

impl Form {
    /// The value of a field; none if it is missing or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The number in a field, at most `most`; 0 if the field is missing or empty.
    pub(crate) fn number(&self, name: &str, most: u64) -> Result<u64, Problem> {
        let Some(text) = self.text(name) else { return Ok(0) };
        let number = text.parse().ok().filter(|number| *number <= most);
        number.ok_or_else(|| invalid(format_args!("{name} is a whole number from 0 to {most}.")))
    }

    /// Whether a box is ticked.
    pub(crate) fn is_on(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            Some("on" | "true") => Ok(true),
            None | Some("off" | "false") => Ok(false),
            Some(_) => Err(invalid(format_args!("{name} is on or off."))),
        }
    }

    /// Refuses a field that the action does not know: it may be misspelled.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(_) if known.is_empty() => Err(invalid("This action takes no fields.")),
            Some(name) => {
                Err(invalid(format_args!("There is no field {name}. The fields are: {}.", known.join(", "))))
            }
        }
    }
}

/// 422: a field of the form is not valid.
pub(crate) fn invalid(detail: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        let unread = |rejection: BytesRejection| {
            Problem::new(rejection.status(), "The form did not arrive, or is too long.")
        };
        let body = body.map_err(unread)?;
        Ok(Self(form_urlencoded::parse(&body).into_owned().collect()))
    }
}

/// The answer to an action: a page goes back to where it was, a program gets JSON.
pub(crate) fn done(headers: &HeaderMap, message: &str) -> Response {
    answer(headers, json!({ "message": message }))
}

pub(crate) fn answer(headers: &HeaderMap, body: Value) -> Response {
    if wants_html(headers) { back(headers).into_response() } else { Json(body).into_response() }
}

/// To the page that the request came from. The host of the referrer is ignored.
fn back(headers: &HeaderMap) -> Redirect {
    let referrer = headers.get(REFERER).and_then(|value| value.to_str().ok());
    let page = referrer.and_then(|referrer| Url::parse(referrer).ok());
    let query = |page: &Url| page.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Two slashes at the beginning would name a host.
    let path = page.map(|page| format!("/{}{}", page.path().trim_start_matches('/'), query(&page)));
    Redirect::to(path.as_deref().unwrap_or("/"))
}
