//! Signed-in users: who calls, as an access token says.

#[cfg(feature = "sign-in")]
mod tokens;

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Context, Document, Problem, Runtime, trace::only};

/// Whose access tokens a service accepts: the issuer, the audience and the issuer's public keys.
///
/// A service gets the keys as configuration and calls nobody to check a token. It finds the key by the token's
/// `kid`, accepts EdDSA only, and ignores the headers in which a token could bring or name a key of its own
/// (`jwk`, `jku`, `x5c`, `x5u`).
#[derive(Clone)]
pub struct AccessTokens {
    #[cfg(feature = "sign-in")]
    issuer: Option<std::sync::Arc<tokens::Issuer>>,
}

impl AccessTokens {
    /// Accepts no token.
    #[must_use]
    pub fn none() -> Self {
        Self {
            #[cfg(feature = "sign-in")]
            issuer: None,
        }
    }

    #[cfg_attr(not(feature = "sign-in"), expect(unused_variables, clippy::unused_self))]
    fn verify(&self, token: &str, now: Timestamp) -> Result<SignedIn, &'static str> {
        #[cfg(feature = "sign-in")]
        if let Some(issuer) = &self.issuer {
            return issuer.verify(token, now);
        }
        Err("this service accepts none")
    }
}

/// The caller of a route: a user with a valid access token. A route that has it as an argument answers 401 to
/// everybody else.
///
/// Only [`AccessTokens`] makes it, from the header `Authorization: Bearer`. If the route takes a
/// [`Command`](crate::Command) after it, the idempotency key belongs to this user: another user with the same
/// key sends another command.
///
/// A token is valid until it expires, even if the user has signed out since. See
/// [`confirm`](Self::confirm).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    user: String,
    session: String,
}

impl SignedIn {
    /// The user's id.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The id of the session in which the user got the token.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Reads whether the session has ended, in the transaction of `cx`. The commit fails if the session ends
    /// meanwhile, and then the handler runs again.
    ///
    /// # Errors
    /// 401 if the session has ended, 503 if the store fails.
    pub async fn confirm(&self, cx: &Context) -> Result<Confirmed, Problem> {
        match cx.get::<Revoked>(&self.session).await? {
            None => Ok(Confirmed(self.clone())),
            Some(_) => {
                Err(Problem::new(StatusCode::UNAUTHORIZED, "You have signed out. Please sign in again."))
            }
        }
    }
}

/// A signed-in user whose session has not ended, as far as this service knows when it commits.
///
/// A function that moves money for a user takes it as an argument, so a route without [`SignedIn`] cannot call that
/// function, and neither can a route that forgets [`SignedIn::confirm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed(SignedIn);

impl std::ops::Deref for Confirmed {
    type Target = SignedIn;
    fn deref(&self) -> &SignedIn {
        &self.0
    }
}

/// Notes that a session has ended. A service whose routes use [`SignedIn::confirm`] calls this when it hears
/// of the end, because no service reads another one's documents.
pub fn revoke(session: &str, cx: &Context) {
    let expire_at = cx.now().saturating_add(KEPT).unwrap_or(Timestamp::MAX);
    cx.put(&Revoked { session_id: session.to_owned(), expire_at });
}

/// How long a service remembers that a session has ended. [`AccessTokens`] accepts no token that lives longer.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The end of a session.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revoked {
    session_id: String,
    expire_at: Timestamp,
}

impl Document for Revoked {
    const COLLECTION: &'static str = "revoked";
    fn id(&self) -> String {
        self.session_id.clone()
    }
}

impl FromRequestParts<Runtime> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, runtime: &Runtime) -> Result<Self, Response> {
        let tokens = &runtime.ports().access_tokens;
        let user = match bearer(&parts.headers) {
            Some(token) => tokens.verify(token, runtime.now()).map_err(|reason| refused(Some(reason)))?,
            None => return Err(refused(None)),
        };
        // `Command` finds it here.
        parts.extensions.insert(user.clone());
        Ok(user)
    }
}

/// `Option<SignedIn>` is `None` if the request has no header `Authorization`. A token that is not valid is an error.
impl OptionalFromRequestParts<Runtime> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, runtime: &Runtime) -> Result<Option<Self>, Response> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        <Self as FromRequestParts<Runtime>>::from_request_parts(parts, runtime).await.map(Some)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-3): an error code only if there was a token.
fn refused(reason: Option<&'static str>) -> Response {
    let Some(reason) = reason else {
        let detail = "This needs the header `Authorization: Bearer` with an access token.";
        return Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    };
    let detail = format!("The access token is not valid: {reason}.");
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    let invalid = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
    response.headers_mut().insert(WWW_AUTHENTICATE, invalid);
    response
}
