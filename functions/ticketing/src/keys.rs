//! The key that signs access tokens.

use aws_lc_rs::{
    error::Unspecified,
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::NAME;

/// How long an access token is valid.
pub(crate) const TOKEN_SECONDS: i64 = 5 * 60;

/// An Ed25519 key pair: the private key that signs access tokens. auth-service derives its other secrets from
/// it, too.
///
/// Its text form is a [JSON Web Key](https://www.rfc-editor.org/rfc/rfc8037#section-2). `Debug` shows only
/// the key's id.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    public: String,
    seed: [u8; 32],
    signing: EncodingKey,
    deriving: hmac::Key,
}

/// The private key as a JSON Web Key.
#[derive(Deserialize, Serialize)]
struct PrivateKey {
    kty: String,
    crv: String,
    kid: String,
    x: String,
    d: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    sid: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

impl SigningKey {
    /// A new random key.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<Self, String> {
        let mut seed = [0; 32];
        // The first use of the generator of aws-lc takes 40 ms, and each service makes a key when it starts.
        getrandom::fill(&mut seed).map_err(|_| "there are no random numbers")?;
        Self::of(seed).map_err(|_| "the new key cannot be used".to_owned())
    }

    /// Reads the text form of a private key.
    ///
    /// # Errors
    /// If it is something else. The message does not show it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key: PrivateKey = serde_json::from_str(text).map_err(|_| "it is not a private JSON Web Key")?;
        if (key.kty.as_str(), key.crv.as_str()) != ("OKP", "Ed25519") {
            return Err("it is not an Ed25519 key".to_owned());
        }
        let seed = URL_SAFE_NO_PAD.decode(&key.d).ok().and_then(|seed| seed.try_into().ok());
        let pair = Self::of(seed.ok_or("its `d` is not 32 bytes")?).map_err(|_| "it cannot be used")?;
        if pair.public != key.x {
            return Err("its `x` is the public half of another key".to_owned());
        }
        if pair.id != key.kid {
            return Err("its `kid` is not its thumbprint".to_owned());
        }
        Ok(pair)
    }

    fn of(seed: [u8; 32]) -> Result<Self, Unspecified> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Unspecified)?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        let root = hmac::Key::new(hmac::HMAC_SHA256, &seed);
        let derived = hmac::sign(&root, b"secrets of auth-service");
        Ok(Self {
            id: thumbprint(&public),
            signing: EncodingKey::from_ed_der(pair.to_pkcs8()?.as_ref()),
            deriving: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            public,
            seed,
        })
    }

    /// The key's id, the `kid` of its tokens.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text form of the private key. It is a secret.
    #[must_use]
    pub fn private_key(&self) -> String {
        let d = URL_SAFE_NO_PAD.encode(self.seed);
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": self.public, "d": d }).to_string()
    }

    /// The public key as a JSON Web Key.
    #[must_use]
    pub fn public_key(&self) -> Value {
        json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.id, "x": self.public,
        })
    }

    /// The JSON Web Key Set of the public halves of these keys.
    #[must_use]
    pub fn public_keys(keys: &[&Self]) -> String {
        json!({ "keys": keys.iter().map(|key| key.public_key()).collect::<Vec<_>>() }).to_string()
    }

    /// An access token.
    pub(crate) fn token(
        &self,
        issuer: &str,
        (user, session): (&str, &str),
        now: Timestamp,
        token_id: String,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some(self.id.clone()));
        let iat = now.as_second();
        let exp = iat + TOKEN_SECONDS;
        let claims = Claims { iss: issuer, aud: NAME, sub: user, sid: session, iat, exp, jti: token_id };
        encode(&header, &claims, &self.signing)
    }

    /// 256 bits that only the holder of the key can compute. Different purposes and parts give unrelated bits.
    pub(crate) fn derive(&self, purpose: &str, parts: &[&str]) -> String {
        let mut context = hmac::Context::with_key(&self.deriving);
        for part in [purpose].iter().chain(parts) {
            // The length makes ["ab", "c"] and ["a", "bc"] different.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(context.sign())
    }
}

/// <https://www.rfc-editor.org/rfc/rfc7638#section-3>
fn thumbprint(public: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()))
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form_and_other_texts_are_refused() {
        let key = SigningKey::generate().expect("a key");
        let text = key.private_key();
        let again = SigningKey::parse(&text).expect("the same key");
        assert_eq!((again.private_key(), again.public_key()), (text.clone(), key.public_key()));
        assert!(!format!("{key:?}").contains(&key.private_key()[60..]));
        let other = SigningKey::generate().expect("another key");
        let public = key.public_key().to_string();
        for (bad, reason) in [
            ("", "not a private JSON Web Key"),
            (public.as_str(), "not a private JSON Web Key"),
            (&text.replace("Ed25519", "X25519"), "not an Ed25519 key"),
            (&text.replace(r#""d":""#, r#""d":"AA"#), "`d` is not 32 bytes"),
            (&text.replace(&key.public, &other.public), "public half of another key"),
            (&text.replace(&key.id, &other.id), "not its thumbprint"),
        ] {
            let error = SigningKey::parse(bad).expect_err("no key");
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    /// The example of RFC 8037, appendix A.3.
    #[test]
    fn the_id_of_a_key_is_its_thumbprint() {
        let public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(thumbprint(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
