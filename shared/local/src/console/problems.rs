//! The errors of the stack's own routes: problem details for programs, a page for a browser.

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use pushbox::Problem;
use serde_json::Value;

use super::layout::{View, heading, page};
use crate::{Stack, stack::wants_html};

/// In bytes. A problem of ours is shorter.
const LONGEST: usize = 64 << 10;

/// Gives the errors of axum's extractors our words, and shows every error to a person as a page. The answers of the
/// services stay as they are.
pub(crate) async fn explain(State(stack): State<Stack>, request: Request, next: Next) -> Response {
    let is_for_person = wants_html(request.headers());
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    let is_of_service = stack.services.contains_key(first);
    let response = next.run(request).await;
    if is_of_service {
        return response;
    }
    explained(response, is_for_person, |title, content| page(&stack, View::Problem, title, content)).await
}

/// A response of ours, as it is unless it is an error. `page` makes a page from a title and the content.
pub(crate) async fn explained(
    response: Response,
    is_for_person: bool,
    page: impl FnOnce(&str, &Markup) -> Response,
) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_problem = match media {
        Some("application/problem+json") => true,
        // The text is that of a library, and names types of Rust.
        None | Some("text/plain; charset=utf-8") => false,
        Some(_) => return response,
    };
    if !is_for_person {
        return if is_problem { response } else { in_our_words(status).into_response() };
    }
    let body = match is_problem {
        true => to_bytes(response.into_body(), LONGEST).await.unwrap_or_default(),
        false => {
            to_bytes(in_our_words(status).into_response().into_body(), LONGEST).await.unwrap_or_default()
        }
    };
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let title = status.canonical_reason().unwrap_or("Error");
    let detail = problem["detail"].as_str().unwrap_or("The stack could not answer.");
    let content = html! {
        (heading(title, html! { (detail) }))
        p { a.button href="/" { "Back to the map" } }
    };
    (status, page(title, &content)).into_response()
}

fn in_our_words(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::no_such_path(),
        StatusCode::METHOD_NOT_ALLOWED => Problem::wrong_method(),
        StatusCode::BAD_REQUEST => {
            let detail =
                "The URL cannot be read: a field comes twice or has the wrong form, or a part is not UTF-8.";
            Problem::new(status, detail)
        }
        _ => Problem::new(status, "The request was refused."),
    }
}
