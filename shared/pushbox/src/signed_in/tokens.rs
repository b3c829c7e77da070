//! Access tokens: [JSON Web Tokens](https://www.rfc-editor.org/rfc/rfc9068), signed with EdDSA.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use serde::Deserialize;
use serde_json::Value;

use super::{AccessTokens, KEPT, SignedIn};

/// The clocks of the issuer and of a service may differ by this much.
const LEEWAY_SECONDS: i64 = 10;

/// The longest id of a user or a session.
const LONGEST_ID: usize = 128;

/// An issuer, and what its tokens must say.
pub(super) struct Issuer {
    keys: BTreeMap<String, DecodingKey>,
    validation: Validation,
    public: Value,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
    #[serde(rename = "jti")]
    _jti: String,
}

impl AccessTokens {
    /// Accepts the tokens of `issuer` for `audience` that are signed with a key of `jwks`, a
    /// [JSON Web Key Set](https://www.rfc-editor.org/rfc/rfc7517#section-5) of public Ed25519 keys.
    ///
    /// # Errors
    /// If `jwks` is anything else. The text does not show it.
    pub fn new(issuer: &str, audience: &str, jwks: &str) -> Result<Self, String> {
        let public: Value = serde_json::from_str(jwks).map_err(|_| "it is not JSON")?;
        let listed = public["keys"].as_array().ok_or("it has no list `keys`")?;
        let mut keys = BTreeMap::new();
        for key in listed {
            let (id, key) = public_key(key)?;
            if keys.insert(id, key).is_some() {
                return Err("two keys have the same `kid`".to_owned());
            }
        }
        if keys.is_empty() {
            return Err("it has no key".to_owned());
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // `verify` compares the times, by the service's own clock.
        validation.validate_exp = false;
        Ok(Self { issuer: Some(Arc::new(Issuer { keys, validation, public })) })
    }

    /// The public keys, for `/.well-known/jwks.json`.
    #[must_use]
    pub fn public_keys(&self) -> Option<&Value> {
        self.issuer.as_deref().map(|issuer| &issuer.public)
    }

    /// Whether tokens that are signed with the key of this id are accepted.
    #[must_use]
    pub fn knows_key(&self, id: &str) -> bool {
        self.issuer.as_deref().is_some_and(|issuer| issuer.keys.contains_key(id))
    }
}

impl Issuer {
    /// The error is for the caller, and shows nothing of the token.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<SignedIn, &'static str> {
        let header = decode_header(token).map_err(|_| "it is not a signed token")?;
        let is_access_token = header.typ.is_some_and(|typ| {
            typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
        });
        if !is_access_token || header.crit.is_some() {
            return Err("it is not an access token");
        }
        let key = header.kid.and_then(|id| self.keys.get(&id)).ok_or("its key is not known")?;
        let claims = decode::<Claims>(token, key, &self.validation).map_err(|error| describe(&error))?.claims;
        if now.as_second() >= claims.exp.saturating_add(LEEWAY_SECONDS) {
            return Err("it has expired");
        }
        if now.as_second() < claims.iat.saturating_sub(LEEWAY_SECONDS) {
            return Err("it is from the future");
        }
        // The end of its session would be forgotten before it expires.
        if claims.exp.saturating_sub(claims.iat) > KEPT.as_secs() {
            return Err("it is valid for too long");
        }
        if !is_id(&claims.sub) || !is_id(&claims.sid) {
            return Err("it names no user or no session");
        }
        Ok(SignedIn { user: claims.sub, session: claims.sid })
    }
}

/// The rule of the ids in events. Otherwise a token could name a session that no event can end.
fn is_id(id: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().all(is_safe) && id.len() <= LONGEST_ID
}

fn describe(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidIssuer => "it is from another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => "its signature is wrong",
        _ => "its claims are incomplete",
    }
}

/// The id of a public key, and the key.
fn public_key(key: &Value) -> Result<(String, DecodingKey), String> {
    // Whoever publishes such a set by mistake must hear of it.
    if key.get("d").is_some() {
        return Err("it holds a private key".to_owned());
    }
    let jwk = Jwk::deserialize(key).map_err(|_| "one of its keys is not a JSON Web Key")?;
    let AlgorithmParameters::OctetKeyPair(parameters) = &jwk.algorithm else {
        return Err("one of its keys is not an Ed25519 key".to_owned());
    };
    if parameters.curve != EllipticCurve::Ed25519 {
        return Err("one of its keys is not an Ed25519 key".to_owned());
    }
    let decoded = DecodingKey::from_jwk(&jwk).map_err(|_| "one of its keys cannot be read")?;
    if decoded.try_get_as_bytes().map(<[u8]>::len).ok() != Some(32) {
        return Err("one of its keys has the wrong length".to_owned());
    }
    let id = jwk.common.key_id.clone().filter(|id| !id.is_empty()).ok_or("one of its keys has no `kid`")?;
    Ok((id, decoded))
}
