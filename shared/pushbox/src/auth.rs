//! Who may push. It guards `POST /` and `POST /relay`.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use gcloud_sdk::{
    IdTokenAudience,
    id_token_verify::{IdTokenVerifier, IdTokenVerifyError},
};

use crate::Problem;

/// How pushes are authenticated.
#[derive(Clone)]
pub enum PushAuth {
    /// Nobody is checked: for a service that only this machine reaches.
    None,
    /// Cloud Run has checked the caller before the request came here: for a private service.
    /// <https://cloud.google.com/run/docs/authenticating/service-to-service>
    Iam,
    /// The token is checked here: for a service that has public routes too.
    Oidc(Arc<Oidc>),
}

/// Checks the token that Pub/Sub and Cloud Scheduler send: signature, issuer, audience, expiry, and
/// that it belongs to one service account.
/// <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>
pub struct Oidc {
    verifier: IdTokenVerifier,
    service_account: String,
}

impl Oidc {
    /// Tokens that were made for `audience` and belong to the service account with this e-mail
    /// address.
    #[must_use]
    pub fn new(verifier: IdTokenVerifier, service_account: &str) -> Self {
        Self { verifier, service_account: service_account.to_owned() }
    }

    /// Checks against Google's published keys, which are fetched when the first token comes.
    ///
    /// # Errors
    /// Says why the HTTP client that fetches the keys cannot be built.
    pub fn google(audience: &str, service_account: &str) -> Result<Self, String> {
        let verifier = IdTokenVerifier::new(IdTokenAudience::new(audience));
        verifier.map(|verifier| Self::new(verifier, service_account)).map_err(|error| error.to_string())
    }

    async fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refuse = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| refuse("A push needs a bearer token."))?;
        let token = self.verifier.verify(token).await.map_err(|error| match error {
            IdTokenVerifyError::InvalidToken(reason) => refuse(&format!("The token is not valid: {reason}.")),
            IdTokenVerifyError::KeysUnavailable(error) => crate::Failure::Retry(error.to_string()).into(),
        })?;
        match token.verified_email() {
            Some(email) if email.to_string() == self.service_account => Ok(()),
            _ => Err(Problem::new(StatusCode::FORBIDDEN, "The token belongs to somebody else.")),
        }
    }
}

impl PushAuth {
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::None | Self::Iam => Ok(()),
            Self::Oidc(oidc) => oidc.check(headers).await,
        }
    }
}
