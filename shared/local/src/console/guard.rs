//! Refuses requests that another site makes a person's browser send, for every route of the stack.

use axum::{
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{HOST, ORIGIN},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use pushbox::Problem;

/// The port that the page is served on. 0 if it is not known.
#[derive(Clone, Copy)]
pub(crate) struct Port(pub(crate) u16);

/// A request from another site has the site's `Origin`, or its `Host` if its name
/// [points to this machine](https://en.wikipedia.org/wiki/DNS_rebinding). Programs that are not browsers send no
/// `Origin`. The services of the stack allow no other origins, so there is no exception for them.
pub(crate) async fn refuse_other_sites(
    State(Port(port)): State<Port>,
    request: Request,
    next: Next,
) -> Response {
    if is_from_here(&request, port) {
        return next.run(request).await;
    }
    let detail = "Only this machine and the console's own page may do this: Host must be localhost, with the port of \
                  the console, and Origin, if present, must match Host.";
    Problem::new(StatusCode::FORBIDDEN, detail).into_response()
}

fn is_from_here(request: &Request, port: u16) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let named: Vec<String> = request.headers().get_all(HOST).iter().map(text).collect();
    // HTTP/2 has the host in the URI.
    let authority = request.uri().authority().map(Authority::to_string);
    let hosts: Vec<&String> = authority.iter().chain(&named).collect();
    let is_same = |origin: &HeaderValue| {
        hosts.iter().all(|host| origin.as_bytes().eq_ignore_ascii_case(format!("http://{host}").as_bytes()))
    };
    named.len() <= 1
        && !hosts.is_empty()
        && hosts.iter().all(|host| is_this_machine(host, port))
        && request.headers().get_all(ORIGIN).iter().all(is_same)
}

/// A host without a port comes from a program: browsers add the port.
fn is_this_machine(host: &str, port: u16) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let Some((named, rest)) = host.split_at_checked(name.len()) else { return false };
        let is_known = |found: &str| found.parse::<u16>().is_ok_and(|found| port == 0 || found == port);
        named.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_known))
    })
}
