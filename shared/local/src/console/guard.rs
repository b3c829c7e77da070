//! Refuses requests that another site makes a person's browser send.

use axum::{
    extract::Request,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{HOST, ORIGIN},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use pushbox::Problem;

/// A request from another site has the site's `Origin`, or its `Host` if its name
/// [points to this machine](https://en.wikipedia.org/wiki/DNS_rebinding). Programs that are not browsers send no
/// `Origin`.
pub(crate) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if is_from_here(&request) {
        return next.run(request).await;
    }
    let detail = "Only the local stack's page may do this: Host must be localhost, and Origin, if present, must match Host.";
    Problem::new(StatusCode::FORBIDDEN, detail).into_response()
}

fn is_from_here(request: &Request) -> bool {
    let header =
        |name: HeaderName| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // HTTP/2 has the host in the URI.
    let host = request.uri().authority().map(Authority::as_str).or(header(HOST)).unwrap_or_default();
    let is_same = |origin: &HeaderValue| origin.as_bytes() == format!("http://{host}").as_bytes();
    is_this_machine(host) && request.headers().get(ORIGIN).is_none_or(is_same)
}

fn is_this_machine(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let port = host.strip_prefix(name).map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    })
}
