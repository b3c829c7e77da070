//! Signed-in people, and the settings of a system that knows them.

use std::sync::LazyLock;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use effects::{mail::Mailer, payments::Gateway};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pushbox::{AccessTokens, Ports};
use serde_json::json;
use ticketing::{Auth, Config, Hashing, SigningKey};

const ISSUER: &str = "https://auth.example.com";
const SEED: [u8; 32] = [7; 32];

/// All processes of all worlds share it, because to parse a key takes longer than to start a process.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::parse(&private_key()).expect("a key"));

static ACCESS_TOKENS: LazyLock<AccessTokens> = LazyLock::new(|| {
    AccessTokens::new(ISSUER, ticketing::NAME, &SigningKey::public_keys(&[&KEY])).expect("keys")
});

static SIGNING: LazyLock<EncodingKey> =
    LazyLock::new(|| EncodingKey::from_ed_der(pair().to_pkcs8().expect("PKCS #8").as_ref()));

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a key")
}

fn private_key() -> String {
    let (d, x) = (URL_SAFE_NO_PAD.encode(SEED), URL_SAFE_NO_PAD.encode(pair().public_key()));
    let thumbprint = digest(&SHA256, format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes());
    let kid = URL_SAFE_NO_PAD.encode(thumbprint);
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "d": d }).to_string()
}

/// The tokens that the services accept.
pub fn access_tokens() -> AccessTokens {
    ACCESS_TOKENS.clone()
}

/// The access token of a user, for the hour before and the 23 hours after this time. The session's id is
/// `session-of-` and the user's.
pub fn token(user: &str, at: Timestamp) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some(KEY.id().to_owned()));
    let iat = at.as_second() - 3600;
    let claims = json!({
        "iss": ISSUER, "aud": ticketing::NAME, "sub": user, "sid": format!("session-of-{user}"),
        "iat": iat, "exp": iat + 24 * 3600, "jti": "token",
    });
    jsonwebtoken::encode(&header, &claims, &SIGNING).expect("a token")
}

/// The settings of a system in which an order may be paid for this many minutes.
pub fn config(ports: &Ports, ticket_lock_minutes: u32) -> Config {
    let auth = Auth {
        issuer: ISSUER.to_owned(),
        signing_key: KEY.clone(),
        access_tokens: access_tokens(),
        origins: None,
        trusted_proxies: 0,
        hashing: Hashing { memory_kib: 8, passes: 1, threads: 1, places: 1 },
        clock: ports.clock.clone(),
        random: ports.random.clone(),
    };
    Config {
        auth,
        ticket_lock_minutes,
        ticket_refund_hours: ticketing::TICKET_REFUND_HOURS,
        gateway: Gateway::local(ports.store.clone(), ports.clock.clone()),
        mailer: Mailer::local(ports.store.clone(), ports.clock.clone()),
    }
}
