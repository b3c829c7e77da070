//! The fields of a form, and the answer to an action.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequest, Request},
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

    /// The number in a field; 0 if the field is missing or empty.
    pub(crate) fn number(&self, name: &str) -> Result<u64, Problem> {
        let Some(text) = self.text(name) else { return Ok(0) };
        text.parse().map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, format_args!("{name} is a whole number of 0 or more."))
        })
    }

    /// Whether a box is ticked.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value != "off" && value != "false")
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
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
