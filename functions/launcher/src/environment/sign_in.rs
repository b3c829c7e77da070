//! The variables of sign-in: who signs access tokens, with which keys.

use catalog::ServiceEntry;
use pushbox::{AccessTokens, Clock, Origins, Random};
use ticketing::{Auth, Hashing, SigningKey};

use super::variable::{Variable, is_one_word};

const ISSUER: Variable = Variable(
    "AUTH_ISSUER",
    "the issuer that access tokens name: the URL of auth-service",
    "https://auth.example.com",
);

const JWKS: Variable = Variable(
    "AUTH_JWKS",
    "the public keys of access tokens, as a JSON Web Key Set; `functions keys new` prints one",
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"…","x":"…"}]}"#,
);

const SIGNING_KEY: Variable = Variable(
    "AUTH_SIGNING_KEY",
    "the private key that signs access tokens, for auth-service alone; `functions keys new` prints one",
    r#"{"kty":"OKP","crv":"Ed25519","kid":"…","x":"…","d":"…"}"#,
);

/// Who signs access tokens.
#[derive(Clone)]
pub(crate) struct SignIn {
    issuer: String,
    /// The tokens that a service accepts.
    pub(crate) tokens: AccessTokens,
    key: SigningKey,
}

impl SignIn {
    /// The variables that a service needs: the issuer and the public keys if it verifies tokens, and the private
    /// key if it declares that secret.
    pub(crate) fn from_env(service: &ServiceEntry) -> Result<Self, String> {
        if !service.signed_in {
            return Self::unused();
        }
        let issuer = ISSUER.required(is_one_word)?;
        let jwks = JWKS.required(|_| true)?;
        let tokens =
            AccessTokens::new(&issuer, &service.system, &jwks).map_err(|reason| JWKS.refused(&reason))?;
        if !service.secrets.iter().any(|secret| secret.env == SIGNING_KEY.0) {
            return Ok(Self { tokens, ..Self::unused()? });
        }
        let key = SIGNING_KEY.required(|_| true)?;
        let key = SigningKey::parse(&key).map_err(|reason| SIGNING_KEY.refused(&reason))?;
        if !tokens.knows_key(key.id()) {
            let reason = format!("AUTH_JWKS does not have its public half, the key {}", key.id());
            return Err(SIGNING_KEY.refused(&reason));
        }
        Ok(Self { issuer, tokens, key })
    }

    /// A new key for this run. Who was signed in has to sign in again.
    pub(crate) fn for_this_run(issuer: &str) -> Result<Self, String> {
        let key = SigningKey::generate()?;
        let tokens = AccessTokens::new(issuer, ticketing::NAME, &SigningKey::public_keys(&[&key]))?;
        Ok(Self { issuer: issuer.to_owned(), tokens, key })
    }

    /// For services that verify and sign no tokens.
    pub(crate) fn unused() -> Result<Self, String> {
        Ok(Self { issuer: String::new(), tokens: AccessTokens::none(), key: SigningKey::generate()? })
    }

    /// The settings of auth-service.
    pub(crate) fn into_auth(self, origins: Option<Origins>, clock: Clock, random: Random) -> Auth {
        Auth {
            issuer: self.issuer,
            signing_key: self.key,
            access_tokens: self.tokens,
            origins,
            trusted_proxies: 0,
            hashing: Hashing::OWASP,
            clock,
            random,
        }
    }
}
