//! The check of push tokens. A local issuer signs them and serves its keys over HTTP.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize, PublicKeyComponents},
    signature::KeyPair as _,
};
use axum::{
    Json, Router,
    extract::State,
    http::{Method, StatusCode, header::CACHE_CONTROL},
    routing::get,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pushbox::{Context, Oidc, PushAuth, Service};
use serde_json::{Value, json};

use crate::suite::{Placed, Pushed, Running, World, concurrently, logs::Logs, request, service};

const AUDIENCE: &str = "user-service.us-central1.my-project";
const ACCOUNT: &str = "user-service-push@my-project.iam.gserviceaccount.com";

/// A key of the issuer: its id, the private key and the published JSON Web Key.
struct Key {
    id: &'static str,
    pem: String,
    public: Value,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der = pair.as_der().expect("DER");
        let lines = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n");
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
        let public = json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "n": n, "e": e });
        Self { id, pem, public }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::RS256) };
        let key = EncodingKey::from_rsa_pem(self.pem.as_bytes()).expect("a key");
        jsonwebtoken::encode(&header, claims, &key).expect("a token")
    }
}

/// Serves the published keys and counts the fetches.
#[derive(Clone, Default)]
struct Issuer {
    published: Arc<Mutex<Vec<Value>>>,
    down: Arc<Mutex<bool>>,
    /// Whether the keys may be used for one token only. Otherwise they may be used for an hour.
    short_lived: bool,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    fn of(keys: &[&Key]) -> Self {
        let issuer = Self::default();
        issuer.publish(keys);
        issuer
    }

    fn publish(&self, keys: &[&Key]) {
        *self.published.lock().expect("a lock") = keys.iter().map(|key| key.public.clone()).collect();
    }

    /// A service that accepts the tokens of this issuer.
    async fn guard(&self, world: &World) -> Running {
        let keys = |State(issuer): State<Self>| async move {
            issuer.fetches.fetch_add(1, Ordering::SeqCst);
            let keys = issuer.published.lock().expect("a lock").clone();
            match *issuer.down.lock().expect("a lock") {
                true => Err(StatusCode::INTERNAL_SERVER_ERROR),
                false => {
                    let max_age = if issuer.short_lived { "max-age=0" } else { "public, max-age=3600" };
                    Ok(([(CACHE_CONTROL, max_age)], Json(json!({ "keys": keys }))))
                }
            }
        };
        let app = Router::new().route("/keys", get(keys)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let oidc = Oidc::with_keys_from(&url, AUDIENCE, ACCOUNT);
        world.run_guarded(guarded(), PushAuth::Oidc(Arc::new(oidc)))
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn guarded() -> Service {
    service().on(|_: Placed, _: Context| async { Ok(()) }).get("/open", || async { "for everybody" })
}

/// The claims of a valid token, with these changes.
fn claims(changes: Value) -> Value {
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "sub": "1234", "iat": now, "exp": now + 3600,
        "email": ACCOUNT, "email_verified": true,
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

/// The `Authorization` header with a valid token.
fn valid_authorization(key: &Key) -> String {
    format!("Bearer {}", key.sign(&claims(json!({}))))
}

async fn push(running: &Running, authorization: &str) -> u16 {
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    let body = Pushed::order("a").envelope().to_string();
    let headers = if authorization.is_empty() { &headers[1..] } else { &headers };
    let answer = running.send(request(Method::POST, "/", headers, body)).await;
    if answer.status != 204 {
        answer.assert_problem(answer.status);
    }
    assert_eq!(answer.header("www-authenticate"), (answer.status == 401).then_some("Bearer"));
    assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
    answer.status
}

#[tokio::test]
async fn accepts_only_a_valid_token_of_the_push_account() {
    let (key, stranger) = (Key::new("k1"), Key::new("k1"));
    let issuer = Issuer::of(&[&key]);
    let running = issuer.guard(&World::new()).await;
    let now = jiff::Timestamp::now().as_second();
    let bearer = |changes: Value| format!("Bearer {}", key.sign(&claims(changes)));

    // HS256 with the issuer's public key as the secret.
    let public = serde_json::to_vec(&key.public).expect("JSON");
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
    let confused = jsonwebtoken::encode(&header, &claims(json!({})), &EncodingKey::from_secret(&public));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(&json!({ "alg": "none", "kid": "k1" })), part(&claims(json!({}))));
    let unsigned = key.sign(&claims(json!({})));
    let unsigned = unsigned.rsplit_once('.').expect("a signature").0;

    for (case, authorization, status) in [
        ("a valid token", bearer(json!({})), 204),
        ("the short issuer", bearer(json!({ "iss": "accounts.google.com" })), 204),
        ("another spelling of the scheme", bearer(json!({})).replace("Bearer", "bearer"), 204),
        ("no token", String::new(), 401),
        ("another scheme", bearer(json!({})).replace("Bearer", "Basic"), 401),
        ("garbage", "Bearer garbage".to_owned(), 401),
        ("wrong audience", bearer(json!({ "aud": "crm-service.us-central1.my-project" })), 401),
        ("wrong issuer", bearer(json!({ "iss": "https://example.com" })), 401),
        ("expired", bearer(json!({ "exp": now - 60 })), 401),
        ("not yet valid", bearer(json!({ "nbf": now + 60 })), 401),
        ("issued in the future", bearer(json!({ "iat": now + 60 })), 401),
        ("without expiry", bearer(json!({ "exp": null })), 401),
        ("another account", bearer(json!({ "email": "eve@my-project.iam.gserviceaccount.com" })), 403),
        ("an unverified address", bearer(json!({ "email_verified": false })), 403),
        ("no email_verified", bearer(json!({ "email_verified": null })), 403),
        ("no address", bearer(json!({ "email": null })), 403),
        ("another key with the same id", format!("Bearer {}", stranger.sign(&claims(json!({})))), 401),
        ("HS256 with the public key", format!("Bearer {}", confused.expect("a token")), 401),
        ("no algorithm", format!("Bearer {none}"), 401),
        ("no signature", format!("Bearer {unsigned}."), 401),
    ] {
        assert_eq!(push(&running, &authorization).await, status, "{case}");
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn unknown_key_ids_cause_no_repeated_fetch() {
    let (known, unknown) = (Key::new("known"), Key::new("unknown"));
    let issuer = Issuer::of(&[&known]);
    let running = issuer.guard(&World::new()).await;
    for key in [&unknown, &unknown, &known, &unknown] {
        let expected = if key.id == "known" { 204 } else { 401 };
        assert_eq!(push(&running, &valid_authorization(key)).await, expected);
    }
    assert_eq!(issuer.fetches(), 1, "unknown key ids must not cause repeated fetches");
}

#[tokio::test]
async fn a_key_rotation_takes_effect() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer { short_lived: true, ..Issuer::of(&[&old]) };
    let running = issuer.guard(&World::new()).await;
    assert_eq!(push(&running, &valid_authorization(&old)).await, 204);
    issuer.publish(&[&old, &new]);
    assert_eq!(
        (push(&running, &valid_authorization(&old)).await, push(&running, &valid_authorization(&new)).await),
        (204, 204)
    );
    issuer.publish(&[&new]);
    assert_eq!(
        (push(&running, &valid_authorization(&old)).await, push(&running, &valid_authorization(&new)).await),
        (401, 204)
    );
}

#[tokio::test]
async fn answers_503_before_any_keys_can_be_fetched() {
    let key = Key::new("k1");
    let issuer = Issuer::of(&[&key]);
    *issuer.down.lock().expect("a lock") = true;
    let running = issuer.guard(&World::new()).await;
    assert_eq!(push(&running, &valid_authorization(&key)).await, 503);
}

/// Anybody can forge a token with an unknown key id, so the answer must not look like an outage.
#[tokio::test]
async fn answers_401_to_unknown_key_ids_while_no_keys_can_be_fetched() {
    let (known, unknown, logs) = (Key::new("known"), Key::new("unknown"), Logs::collect());
    let issuer = Issuer { short_lived: true, ..Issuer::of(&[&known]) };
    let running = issuer.guard(&World::new()).await;
    assert_eq!(push(&running, &valid_authorization(&known)).await, 204);
    *issuer.down.lock().expect("a lock") = true;
    let forged = valid_authorization(&unknown);
    let statuses = concurrently(64, |_| {
        let (running, forged) = (running.clone(), forged.clone());
        Box::pin(async move { push(&running, &forged).await })
    });
    assert_eq!(statuses.await, vec![401; 64]);
    assert_eq!(issuer.fetches(), 2, "one fetch for all forged tokens");
    // A token of the known key gets 503: it may be valid, but the cached key is too old.
    assert_eq!(push(&running, &valid_authorization(&known)).await, 503);
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(logs.of("ERROR"), [""; 0]);
}

/// Until then, a forged token looks like a valid one.
#[tokio::test]
async fn forged_tokens_before_the_first_keys_cause_one_fetch_and_no_error() {
    let (forged, logs, issuer) = (valid_authorization(&Key::new("forged")), Logs::collect(), Issuer::of(&[]));
    *issuer.down.lock().expect("a lock") = true;
    let running = issuer.guard(&World::new()).await;
    let statuses = concurrently(64, |_| {
        let (running, forged) = (running.clone(), forged.clone());
        Box::pin(async move { push(&running, &forged).await })
    });
    assert_eq!((statuses.await, issuer.fetches()), (vec![503; 64], 1));
    assert_eq!(logs.of("ERROR"), [""; 0]);
}

/// Only tokens with unknown key ids wait for a fetch.
#[tokio::test]
async fn unknown_key_ids_do_not_block_valid_tokens() {
    let (known, unknown) = (Key::new("known"), Key::new("unknown"));
    let issuer = Issuer::of(&[&known]);
    let running = issuer.guard(&World::new()).await;
    let (valid, forged) = (valid_authorization(&known), valid_authorization(&unknown));
    let statuses = concurrently(64, |n| {
        let (running, token) = (running.clone(), if n % 2 == 0 { &forged } else { &valid }.clone());
        Box::pin(async move { push(&running, &token).await })
    });
    assert_eq!(statuses.await, [401, 204].repeat(32));
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn concurrent_pushes_fetch_the_keys_once() {
    let key = Key::new("k1");
    let issuer = Issuer::of(&[&key]);
    let running = issuer.guard(&World::new()).await;
    let authorization = valid_authorization(&key);
    let statuses = concurrently(64, |_| {
        let (running, authorization) = (running.clone(), authorization.clone());
        Box::pin(async move { push(&running, &authorization).await })
    });
    assert_eq!(statuses.await, vec![204; 64]);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn guards_only_pushes_and_the_relay() {
    let running = Issuer::of(&[]).guard(&World::new()).await;
    for (method, path, status) in [
        (Method::POST, "/", 401),
        (Method::POST, "/relay", 401),
        (Method::GET, "/open", 200),
        (Method::GET, "/healthz", 200),
    ] {
        let answer = running.send(request(method, path, &[], "")).await;
        assert_eq!(answer.status, status, "{path}");
    }
}
