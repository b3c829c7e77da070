//! What a request says about the browser that sent it, and the cookie that a browser gets.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, COOKIE, HOST, ORIGIN, SET_COOKIE},
        request::Parts,
        uri::Authority,
    },
    response::{IntoResponse, Response},
};
use pushbox::{Origins, Problem};

use super::sessions::{IDLE_SECONDS, Ticket};

/// The prefix makes browsers refuse the cookie from another host, without TLS or with another path.
const COOKIE_NAME: &str = "__Host-session";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The sender of a request.
pub(super) struct Browser {
    /// What the session cookie holds; none if there is none, or if it cannot be one of ours.
    pub(super) ticket: Option<Ticket>,
    /// The network of the caller; none if nothing in front of the service tells it. [`Browser::behind`] sets it.
    pub(super) network: Option<String>,
    /// The addresses in `X-Forwarded-For`, the last one first.
    forwarded_for: Vec<String>,
    origin: Option<HeaderValue>,
    host: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let text = |name: &HeaderName| parts.headers.get(name)?.to_str().ok();
        let host = text(&HOST).or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
        Ok(Self {
            ticket: cookie(&parts.headers).and_then(|value| value.parse().ok()),
            network: None,
            forwarded_for: forwarded_for(&parts.headers),
            origin: parts.headers.get(ORIGIN).cloned(),
            host: host.map(str::to_owned),
        })
    }
}

impl Browser {
    /// Google's front end appends the caller's address to `X-Forwarded-For`, and each load balancer between it and
    /// the service appends one more. So the entry before these is true, and the earlier ones may be lies.
    pub(super) fn behind(mut self, trusted_proxies: usize) -> Self {
        self.network = self.forwarded_for.get(trusted_proxies).and_then(|address| network(address));
        self
    }

    /// Refuses the requests that pages of other origins make in a browser with our cookie. A browser names the
    /// origin of every POST; programs that name none have no cookie of a victim.
    pub(super) fn check_origin(&self, allowed: Option<&Origins>) -> Result<(), Problem> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let is_own = uri.is_some_and(|uri| {
            // Somebody between a browser and the network can make up a page without TLS.
            let is_safe = uri.scheme_str() == Some("https") || uri.host() == Some("localhost");
            is_safe && uri.authority().map(Authority::as_str) == self.host.as_deref()
        });
        if is_own || allowed.is_some_and(|origins| origins.contains(origin)) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "Pages of this origin must not sign people in or out."))
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

fn forwarded_for(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let addresses = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    addresses.map(|address| address.trim().to_owned()).collect()
}

/// The network of an address: /24 of IPv4, which is up to 256 subscribers, or /48 of IPv6, which is the most that one
/// subscriber usually gets.
fn network(address: &str) -> Option<String> {
    let address: IpAddr = address.parse().ok()?;
    Some(match address.to_canonical() {
        IpAddr::V4(address) => (address & Ipv4Addr::new(255, 255, 255, 0)).to_string(),
        IpAddr::V6(address) => (address & Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0, 0, 0, 0, 0)).to_string(),
    })
}

/// Sets the session cookie, or removes it. The response must not be stored anywhere.
pub(super) fn with_cookie(response: impl IntoResponse, ticket: Option<&Ticket>) -> Response {
    let (value, seconds) = ticket.map_or((String::new(), 0), |ticket| (ticket.to_string(), IDLE_SECONDS));
    let cookie = format!("{COOKIE_NAME}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax");
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[tokio::test]
    async fn the_address_before_those_of_the_proxies_names_the_network() {
        for (trusted_proxies, lines, expected) in [
            (0, &[][..], None),
            (0, &["203.0.113.77"], Some("203.0.113.0")),
            (0, &["10.0.0.1, 203.0.113.77"], Some("203.0.113.0")),
            (0, &["::ffff:203.0.113.77"], Some("203.0.113.0")),
            (0, &["2001:db8:1:2::3"], Some("2001:db8:1::")),
            (0, &["203.0.113.77, unknown"], None),
            // Behind a load balancer, the last address is that of the load balancer.
            (1, &["10.0.0.1, 203.0.113.77, 198.51.100.1"], Some("203.0.113.0")),
            (1, &["10.0.0.1,203.0.113.77", "198.51.100.1"], Some("203.0.113.0")),
            (1, &["198.51.100.1"], None),
        ] {
            let mut request = Request::builder();
            for line in lines {
                request = request.header(FORWARDED_FOR, *line);
            }
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            let Ok(browser) = Browser::from_request_parts(&mut parts, &()).await;
            let network = browser.behind(trusted_proxies).network;
            assert_eq!(network.as_deref(), expected, "{trusted_proxies} {lines:?}");
        }
    }
}
