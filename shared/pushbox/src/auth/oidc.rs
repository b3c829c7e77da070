//! OpenID Connect tokens, checked in the service.

use std::{
    collections::BTreeSet,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use gcloud_sdk::{
    IdTokenAudience,
    id_token_verify::{IdTokenKeys, IdTokenKeysSource, IdTokenVerifier, IdTokenVerifyError, InvalidIdToken},
};
use reqwest::{Client, header::CACHE_CONTROL};

use super::{bearer_token, forbidden, unauthorized};
use crate::Problem;

/// Checks the token that Pub/Sub and Cloud Scheduler send: its signature, issuer, audience and expiry, and
/// that it belongs to one service account.
/// <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>
pub struct Oidc {
    verifier: IdTokenVerifier,
    service_account: String,
    /// The headers of valid tokens, still encoded. A header names the signing key, so there is one entry
    /// for each of Google's keys that has signed a valid token.
    good_heads: RwLock<BTreeSet<Box<str>>>,
}

impl Oidc {
    /// Accepts tokens for `audience` that belong to the service account with this e-mail address. Google's
    /// published keys are fetched when the first token arrives.
    ///
    /// # Errors
    /// If the HTTP client that fetches the keys cannot be built.
    pub fn google(audience: &str, service_account: &str) -> Result<Self, String> {
        let verifier = IdTokenVerifier::new(IdTokenAudience::new(audience));
        let verifier = verifier.map_err(|error| error.to_string())?;
        Ok(Self::with(verifier, service_account))
    }

    /// For tests: accepts tokens that a stand-in for Google has signed. Its public keys are the JSON Web Key
    /// Set at `url`.
    #[must_use]
    pub fn with_keys_from(url: &str, audience: &str, service_account: &str) -> Self {
        let keys = KeysFrom { url: url.to_owned(), client: Client::new() };
        Self::with(IdTokenVerifier::with_keys_source(IdTokenAudience::new(audience), keys), service_account)
    }

    fn with(verifier: IdTokenVerifier, service_account: &str) -> Self {
        Self { verifier, service_account: service_account.to_owned(), good_heads: RwLock::default() }
    }

    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let token = bearer_token(headers)?;
        let head = token.split('.').next().unwrap_or_default();
        let verified = match self.verifier.verify(token).await {
            Ok(verified) => verified,
            Err(IdTokenVerifyError::InvalidToken(reason)) => {
                return Err(unauthorized(&format!("The token is not valid: {}.", describe(&reason))));
            }
            Err(IdTokenVerifyError::KeysUnavailable(_)) if self.names_a_strange_key(head) => {
                return Err(unauthorized("The token is not valid: unknown signing key."));
            }
            // The verifier has logged the cause, once for all tokens that it cannot check in the meantime.
            Err(IdTokenVerifyError::KeysUnavailable(_)) => {
                let detail = "The keys that tokens are checked with cannot be fetched. Please try again.";
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
            }
        };
        self.remember(head);
        match verified.verified_email() {
            Some(email) if email.to_string() == self.service_account => Ok(()),
            _ => Err(forbidden()),
        }
    }

    /// Whether valid tokens have come, and none of them was signed with this key. The answer is then 401, not
    /// 503, because anybody can invent a key. Before the first valid token, a forged one looks like a valid one.
    /// If Google has introduced the key, Pub/Sub sends the push again, and the verifier looks for new keys at
    /// most every 30 seconds.
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

/// Leaves out the content of the token, because the text is logged.
fn describe(reason: &InvalidIdToken) -> String {
    match reason {
        InvalidIdToken::Malformed(_) => "malformed token".to_owned(),
        InvalidIdToken::UnknownKey(Some(_)) => "unknown signing key".to_owned(),
        reason => reason.to_string(),
    }
}

struct KeysFrom {
    url: String,
    client: Client,
}

#[async_trait]
impl IdTokenKeysSource for KeysFrom {
    async fn fetch_keys(&self) -> gcloud_sdk::error::Result<IdTokenKeys> {
        let answer = self.client.get(&self.url).send().await?.error_for_status()?;
        let cache_control = answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let max_age = cache_control
            .and_then(|text| text.split(',').find_map(|part| part.trim().strip_prefix("max-age=")))
            .and_then(|seconds| seconds.parse().ok());
        Ok(IdTokenKeys::new(answer.json().await?, Duration::from_secs(max_age.unwrap_or(0))))
    }
}
