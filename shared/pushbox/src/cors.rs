//! Cross-origin requests: the web pages that may call a service from a browser.

use std::{str::FromStr, time::Duration};

use axum::{
    Router,
    http::{
        HeaderName, HeaderValue, Method, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER},
    },
};
use tower_http::cors::CorsLayer;

use crate::wire::header::IDEMPOTENCY_KEY;

/// The origins, such as `https://shop.example`, whose pages may call a public service. Without them, a
/// browser hides every answer from the pages of other origins. It parses from a comma-separated list. See
/// [`Service::allow_origins`](crate::Service::allow_origins).
#[derive(Clone, Debug, PartialEq)]
pub struct Origins(Vec<HeaderValue>);

/// The text is not a list of origins.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{0}` is not an origin; it should look like https://shop.example")]
pub struct InvalidOrigin(String);

impl FromStr for Origins {
    type Err = InvalidOrigin;
    fn from_str(list: &str) -> Result<Self, InvalidOrigin> {
        list.split(',').map(|origin| origin_of(origin.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// An origin as browsers write it: in lower case, without a path.
fn origin_of(text: &str) -> Result<HeaderValue, InvalidOrigin> {
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        // Browsers omit the default port of the scheme.
        let own_port = if scheme == "https" { ":443" } else { ":80" };
        ["http", "https"].contains(&scheme)
            && format!("{scheme}://{authority}") == text
            && !authority.is_empty()
            && !authority.contains(['@', '*'])
            && !authority.ends_with(own_port)
            && !authority.bytes().any(|byte| byte.is_ascii_uppercase())
    });
    let value = HeaderValue::from_str(text).ok().filter(|_| is_origin);
    value.ok_or_else(|| InvalidOrigin(text.to_owned()))
}

impl Origins {
    /// Whether the header `Origin` of a request names one of them.
    #[must_use]
    pub fn contains(&self, origin: &HeaderValue) -> bool {
        self.0.contains(origin)
    }

    /// Allows the pages of these origins to call the routes of `app`. With cookies, browsers also send and keep the
    /// cookies of the service.
    pub(crate) fn allow(self, app: Router, with_cookies: bool) -> Router {
        let headers = [AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static(IDEMPOTENCY_KEY)];
        let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        app.layer(
            CorsLayer::new()
                .allow_origin(self.0)
                .allow_credentials(with_cookies)
                .allow_headers(headers)
                .allow_methods(methods)
                .expose_headers([LOCATION, RETRY_AFTER])
                .max_age(Duration::from_secs(3600)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_origins_and_nothing_else() {
        let origins: Origins = "https://shop.example, http://localhost:3000".parse().expect("origins");
        assert_eq!(origins.0, ["https://shop.example", "http://localhost:3000"]);
        for bad in [
            "",
            "*",
            "null",
            "https://*.example",
            "https://shop.example/",
            "https://Shop.example",
            "shop.example",
        ] {
            assert_eq!(bad.parse::<Origins>(), Err(InvalidOrigin(bad.to_owned())));
        }
    }
}
