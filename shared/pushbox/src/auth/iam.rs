//! OpenID Connect tokens that Cloud Run has verified.

use axum::http::{HeaderMap, HeaderName};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{bearer_token, forbidden, unauthorized};
use crate::Problem;

/// If a request has this header, Cloud Run verifies its token and passes `Authorization` on as it is, so that header
/// may be forged. Pub/Sub and Cloud Scheduler do not send it.
const OTHER_TOKEN: HeaderName = HeaderName::from_static("x-serverless-authorization");

#[derive(Deserialize)]
struct Claims {
    email: Option<String>,
    email_verified: Option<bool>,
}

/// Checks that the token belongs to the service account. Cloud Run has verified the token and replaced its signature.
pub(super) fn check(headers: &HeaderMap, service_account: &str) -> Result<(), Problem> {
    if headers.contains_key(OTHER_TOKEN) {
        return Err(unauthorized("A push has its token in the header Authorization."));
    }
    let claims = claims(bearer_token(headers)?);
    let claims = claims.ok_or_else(|| unauthorized("The token is not valid: malformed token."))?;
    match claims {
        Claims { email: Some(email), email_verified: Some(true) } if email == service_account => Ok(()),
        _ => Err(forbidden()),
    }
}

/// The payload of a token: the second of its three parts.
fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
