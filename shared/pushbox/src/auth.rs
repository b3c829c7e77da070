//! Who may push. It guards `POST /` and `POST /relay`.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

use axum::http::{HeaderMap, StatusCode};
use gcloud_sdk::{
    IdTokenAudience,
    id_token_verify::{IdTokenVerifier, IdTokenVerifyError, InvalidIdToken},
};

use crate::{Problem, trace::only};

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
    /// The heads of tokens that were good, as they came. A head names the key, so there is one for each
    /// key of Google's that has been used.
    good_heads: RwLock<BTreeSet<Box<str>>>,
}

impl Oidc {
    /// Tokens that were made for `audience` and belong to the service account with this e-mail
    /// address.
    #[must_use]
    pub fn new(verifier: IdTokenVerifier, service_account: &str) -> Self {
        Self { verifier, service_account: service_account.to_owned(), good_heads: RwLock::default() }
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
        let token = only(headers, "authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| refuse("A push needs a bearer token."))?;
        let head = token.split('.').next().unwrap_or_default();
        let verified = match self.verifier.verify(token).await {
            Ok(verified) => verified,
            Err(IdTokenVerifyError::InvalidToken(reason)) => {
                return Err(refuse(&format!("The token is not valid: {}.", describe(&reason))));
            }
            Err(IdTokenVerifyError::KeysUnavailable(_)) if self.names_a_strange_key(head) => {
                return Err(refuse("The token is not valid: unknown signing key."));
            }
            // The verifier has logged why, once for all tokens that it cannot check meanwhile.
            Err(IdTokenVerifyError::KeysUnavailable(_)) => {
                let detail = "The keys that tokens are checked with cannot be fetched. Please try again.";
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
            }
        };
        self.remember(head);
        match verified.verified_email() {
            Some(email) if email.to_string() == self.service_account => Ok(()),
            _ => Err(Problem::new(StatusCode::FORBIDDEN, "The token belongs to somebody else.")),
        }
    }

    /// Whether the key is another one than those that good tokens were signed with. Anybody can make
    /// such a token up, so it is no reason to call the service unavailable. If the key is new, Pub/Sub
    /// sends the push again, and the verifier looks for new keys every 30 seconds at most.
    fn names_a_strange_key(&self, head: &str) -> bool {
        let good = self.good_heads.read().unwrap_or_else(PoisonError::into_inner);
        !good.is_empty() && !good.contains(head)
    }

    fn remember(&self, head: &str) {
        let is_known = self.good_heads.read().unwrap_or_else(PoisonError::into_inner).contains(head);
        if !is_known {
            self.good_heads.write().unwrap_or_else(PoisonError::into_inner).insert(head.into());
        }
    }
}

/// Leaves out what the token says, since this is logged.
fn describe(reason: &InvalidIdToken) -> String {
    match reason {
        InvalidIdToken::Malformed(_) => "malformed token".to_owned(),
        InvalidIdToken::UnknownKey(Some(_)) => "unknown signing key".to_owned(),
        reason => reason.to_string(),
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
