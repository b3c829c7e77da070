//! Accounts and sessions: people sign up, sign in and out, and get access tokens.

mod accounts;
mod browser;
mod passwords;
mod sessions;
mod throttle;
mod visits;

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use events::{AccountCreated, SessionRevoked, UserId};
use pushbox::{AccessTokens, Clock, Documents, Failure, Origins, Problem, Random, Service};
use serde::Serialize;

use crate::{SigningKey, keys::TOKEN_SECONDS};
use accounts::{me, sign_in, sign_up};
use browser::{Browser, with_cookie};
use passwords::Hasher;
use sessions::{Opened, Session};
use throttle::{Familiar, Throttle};
use visits::{refresh, sign_out};

pub use passwords::Hashing;

pub fn service(settings: Auth) -> Service {
    let desk = Arc::new(Desk { hasher: Hasher::new(settings.hashing, settings.random.clone()), settings });
    let trusted_proxies = desk.settings.trusted_proxies;
    let [a, b, c, d, e, f] = std::array::from_fn(|_| Arc::clone(&desk));
    Service::new("auth-service", "manages accounts and sessions, and issues access tokens")
        .public()
        .signed_in()
        .cookies()
        .secret("AUTH_SIGNING_KEY")
        .expires::<Session>()
        .expires::<Throttle>()
        .expires::<Familiar>()
        .publishes::<AccountCreated>()
        .publishes::<SessionRevoked>()
        .post("/signup", move |browser: Browser, documents, command| {
            sign_up(a.clone(), browser.behind(trusted_proxies), documents, command)
        })
        .post("/signin", move |browser: Browser, documents, command| {
            sign_in(b.clone(), browser.behind(trusted_proxies), documents, command)
        })
        .post("/refresh", move |browser, documents, command| refresh(c.clone(), browser, documents, command))
        .post("/signout", move |browser, user, command| sign_out(d.clone(), browser, user, command))
        .get("/me", move |user, documents| me(e.clone(), user, documents))
        .get("/.well-known/jwks.json", move || async move { f.public_keys() })
}

/// The settings of auth-service.
pub struct Auth {
    /// The issuer that access tokens name.
    pub issuer: String,
    /// The key that signs them.
    pub signing_key: SigningKey,
    /// The tokens that all services accept. The signing key must be among their keys.
    pub access_tokens: AccessTokens,
    /// The pages of other origins that may sign people in and out.
    pub origins: Option<Origins>,
    /// How many load balancers append their address to `X-Forwarded-For`, after that of the caller.
    pub trusted_proxies: usize,
    /// The cost of passwords.
    pub hashing: Hashing,
    /// The source of time.
    pub clock: Clock,
    /// The source of salts and of the ids of tokens.
    pub random: Random,
}

/// What the routes share.
struct Desk {
    settings: Auth,
    hasher: Hasher,
}

/// The answer to a sign-up, a sign-in and a refresh. No receipt holds it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Welcome {
    user_id: UserId,
    access_token: String,
    /// In seconds.
    expires_in: i64,
}

impl Desk {
    /// An access token and the cookie of a session. A receipt can be older than the session's end, so this looks
    /// at the session itself.
    async fn welcome(
        &self,
        status: StatusCode,
        opened: &Opened,
        documents: &Documents,
    ) -> Result<Response, Problem> {
        let Auth { signing_key, issuer, clock, random, .. } = &self.settings;
        let now = clock.now();
        let session: Option<Session> = documents.get(opened.session_id.as_str()).await?;
        let session = session.filter(|session| session.is_at(opened, now)).ok_or_else(ended)?;
        // An instance with the other signing key can answer the repeat of the request.
        let made_elsewhere = || Failure::Retry("another signing key made the cookie".to_owned());
        let ticket = session.current(signing_key).ok_or_else(made_elsewhere)?;
        let caller = (session.user_id.as_str(), session.session_id.as_str());
        let access_token = signing_key.token(issuer, caller, now, random.nonce()).map_err(Failure::from)?;
        let welcome = Welcome { user_id: session.user_id, access_token, expires_in: TOKEN_SECONDS };
        Ok(with_cookie((status, Json(welcome)), Some(&ticket)))
    }

    /// For services of other teams. The services of this system have the keys as configuration.
    fn public_keys(&self) -> Response {
        let caching = (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        match self.settings.access_tokens.public_keys() {
            Some(keys) => ([caching], Json(keys)).into_response(),
            None => Problem::not_found("key").into_response(),
        }
    }
}

fn ended() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "There is no such session, or it has ended. Please sign in.")
}
