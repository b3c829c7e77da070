//! The bound of the documents in memory: beyond it, the stack takes no new work.

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use pushbox::Problem;

use crate::{Stack, rest::ApiError};

/// Refuses commands and publications while the documents take too much. What was accepted before is still handled.
pub(crate) async fn refuse_when_full(State(stack): State<Stack>, request: Request, next: Next) -> Response {
    let Some(bounds) = stack.extras.memory.as_ref().filter(|bounds| bounds.is_full()) else {
        return next.run(request).await;
    };
    let detail = format!(
        "The documents in memory take {} MiB, which is the most that this stack keeps. Start it again: it begins \
         without documents.",
        bounds.most_documents >> 20
    );
    let path = request.uri().path();
    if path.starts_with("/v1/") && path.ends_with(":publish") {
        return ApiError::exhausted(detail).into_response();
    }
    let is_command = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    let mut segments = path.trim_matches('/').split('/');
    // Pushes go to the root of a service.
    let is_of_service = segments.next().is_some_and(|first| stack.services.contains_key(first));
    if is_command && is_of_service && segments.next().is_some() {
        return Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail).into_response();
    }
    next.run(request).await
}
