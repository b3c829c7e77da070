//! Signed-in users: which access tokens are valid, whose idempotency key it is, and the end of a session.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::http::Method;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pushbox::{
    AccessTokens, Command, Confirmed, Context, Failure, Problem, Reply, Service, SignedIn, revoke,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::suite::{Answer, Placed, Pushed, Running, World, count, counts, request, service};

const ISSUER: &str = "https://auth.example.com";
const AUDIENCE: &str = "ticketing";
/// The time of a new world, in seconds.
const NOW: i64 = 1_795_176_000;
const DAY: i64 = 24 * 60 * 60;

/// A key of the issuer.
struct Key {
    id: &'static str,
    public: String,
    private: EncodingKey,
}

impl Key {
    /// The seed makes the key, so two keys with the same seed are the same.
    fn new(id: &'static str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key");
        let private = EncodingKey::from_ed_der(pair.to_pkcs8().expect("PKCS #8").as_ref());
        Self { id, public: URL_SAFE_NO_PAD.encode(pair.public_key()), private }
    }

    fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": self.public })
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::EdDSA);
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some(self.id.to_owned()));
        header
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.private).expect("a token")
    }

    /// A valid token of a user in a session.
    fn token(&self, user: &str, session: &str) -> String {
        self.sign(&self.header(), &claims(user, session))
    }
}

fn claims(user: &str, session: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": user, "sid": session,
        "iat": NOW, "exp": NOW + 300, "jti": "token-1",
    })
}

fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A world whose services accept tokens that are signed with one of these keys.
fn world(keys: &[&Key]) -> World {
    let access_tokens = AccessTokens::new(ISSUER, AUDIENCE, &jwks(keys)).expect("keys");
    World::new().with_access_tokens(access_tokens)
}

#[derive(Deserialize)]
struct Purchase {
    #[serde(default)]
    id: String,
}

/// Only a confirmed user can pay. The route cannot call this without one.
fn pay(payer: &Confirmed, id: &str, cx: &Context) {
    cx.put(&count(id, payer.user().len() as i64));
}

async fn purchase(user: SignedIn, command: Command<Purchase>) -> Result<Reply, Problem> {
    let id = command.body.id.clone();
    command
        .run((user, id), |(user, id), cx| async move {
            let payer = user.confirm(&cx).await?;
            pay(&payer, &id, &cx);
            Ok(Reply::created(&json!({ "paidBy": user.user() })))
        })
        .await
}

fn shop() -> Service {
    let whoami = |user: SignedIn| async move { format!("{} {}", user.user(), user.session()) };
    let end = |placed: Placed, cx: Context| async move {
        revoke(&placed.order, &cx);
        Ok::<_, Failure>(())
    };
    service().signed_in().on(end).get("/me", whoami).post("/purchases", purchase)
}

async fn me(running: &Running, authorization: &[&str]) -> Answer {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    running.send(request(Method::GET, "/me", &headers, "")).await
}

/// Expects that a service that knows `keys` answers 401 to a token, or names its user.
async fn check(running: &Running, case: &str, token: &str, is_valid: bool) {
    let answer = me(running, &[&format!("Bearer {token}")]).await;
    if is_valid {
        assert_eq!((answer.status, answer.text.as_str()), (200, "ann s1"), "{case}: {answer:?}");
        return;
    }
    answer.assert_problem(401);
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#), "{case}");
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    assert!(detail.len() < 100 && !detail.contains("ann"), "{case}: {detail}");
}

#[tokio::test(start_paused = true)]
async fn accepts_only_tokens_of_the_issuer_for_the_audience() {
    let (key, next, other) = (Key::new("k1", 1), Key::new("k2", 2), Key::new("k3", 3));
    let running = world(&[&key, &next]).run(shop());
    assert_eq!(NOW, "2026-11-20T12:00:00Z".parse::<Timestamp>().expect("a time").as_second());
    check(&running, "valid", &key.token("ann", "s1"), true).await;
    check(&running, "signed with the next key", &next.token("ann", "s1"), true).await;
    check(&running, "signed with a retired or foreign key", &other.token("ann", "s1"), false).await;

    // One claim differs.
    for (claim, value, is_valid) in [
        ("iss", json!("https://evil.example.com"), false),
        ("iss", json!(null), false),
        ("aud", json!("shop"), false),
        ("aud", json!(null), false),
        ("aud", json!(["shop", AUDIENCE]), true),
        ("exp", json!(NOW + DAY), true),
        ("exp", json!(NOW + DAY + 1), false),
        ("exp", json!(i64::MAX), false),
        ("exp", json!(NOW - 9), true),
        ("exp", json!(NOW - 10), false),
        ("exp", json!(null), false),
        ("exp", json!("tomorrow"), false),
        ("iat", json!(NOW + 10), true),
        ("iat", json!(NOW + 11), false),
        ("iat", json!(NOW - DAY + 300), true),
        ("iat", json!(NOW - DAY + 299), false),
        ("iat", json!(i64::MIN), false),
        ("iat", json!(null), false),
        ("sub", json!(null), false),
        ("sub", json!(""), false),
        ("sub", json!("x".repeat(129)), false),
        ("sub", json!("auth0|1"), false),
        ("sub", json!("ann@example.com"), false),
        ("sub", json!("-ann"), false),
        ("sid", json!(null), false),
        ("sid", json!("a b"), false),
        // No event can end such a session.
        ("sid", json!("a/b"), false),
        ("sid", json!(".."), false),
        ("jti", json!(null), false),
    ] {
        let mut altered = claims("ann", "s1");
        altered[claim] = value.clone();
        if value.is_null() {
            altered.as_object_mut().expect("an object").remove(claim);
        }
        check(&running, &format!("{claim}={value}"), &key.sign(&key.header(), &altered), is_valid).await;
    }

    // One header differs.
    let alter = |change: &dyn Fn(&mut Header)| {
        let mut header = key.header();
        change(&mut header);
        key.sign(&header, &claims("ann", "s1"))
    };
    for (case, token, is_valid) in [
        ("another type", alter(&|header| header.typ = Some("JWT".to_owned())), false),
        ("no type", alter(&|header| header.typ = None), false),
        ("the long type", alter(&|header| header.typ = Some("application/AT+JWT".to_owned())), true),
        ("no kid", alter(&|header| header.kid = None), false),
        ("another kid", alter(&|header| header.kid = Some("k2".to_owned())), false),
        ("a critical header", alter(&|header| header.crit = Some(vec!["exp".to_owned()])), false),
        (
            "a URL that is not asked",
            alter(&|header| header.jku = Some("http://evil.example".to_owned())),
            true,
        ),
    ] {
        check(&running, case, &token, is_valid).await;
    }
}

#[tokio::test(start_paused = true)]
async fn refuses_forged_tokens() {
    let (key, evil) = (Key::new("k1", 1), Key::new("k1", 9));
    let running = world(&[&key]).run(shop());
    let valid = key.token("ann", "s1");
    let [head, body, signature] = valid.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = encode(json!({ "alg": "none", "typ": "at+jwt", "kid": "k1" }));
    let bob = encode(claims("bob", "s1"));
    // The public key as the secret of a symmetric algorithm.
    let mut symmetric = Header::new(Algorithm::HS256);
    (symmetric.typ, symmetric.kid) = (Some("at+jwt".to_owned()), Some("k1".to_owned()));
    let public = URL_SAFE_NO_PAD.decode(&key.public).expect("base64");
    let symmetric =
        jsonwebtoken::encode(&symmetric, &claims("ann", "s1"), &EncodingKey::from_secret(&public));
    // The token brings its own key.
    let brings_key = Header { jwk: serde_json::from_value(evil.jwk()).ok(), ..evil.header() };
    for (case, token) in [
        ("empty", String::new()),
        ("not a token", "ann".to_owned()),
        ("unsigned", format!("{unsigned}.{body}.")),
        ("unsigned, with the signature", format!("{unsigned}.{body}.{signature}")),
        ("without the signature", format!("{head}.{body}.")),
        ("another user", format!("{head}.{bob}.{signature}")),
        ("another key with the same id", evil.token("ann", "s1")),
        ("its own key", evil.sign(&brings_key, &claims("ann", "s1"))),
        ("symmetric", symmetric.expect("a token")),
    ] {
        check(&running, case, &token, false).await;
    }
    for authorization in
        [&[][..], &["Basic YW5uOnB3"], &[&valid], &["Bearer"], &[&*format!("Bearer {valid}"); 2]]
    {
        let answer = me(&running, authorization).await;
        answer.assert_problem(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{authorization:?}");
    }
    // A service without keys accepts nobody.
    check(&World::new().run(shop()), "no keys", &valid, false).await;
}

#[test]
fn refuses_key_sets_that_are_not_public_ed25519_keys() {
    let (key, twin) = (Key::new("k1", 1), Key::new("k1", 2));
    let with = |field: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[field] = value;
        json!({ "keys": [jwk] }).to_string()
    };
    for (jwks, reason) in [
        (jwks(&[&key]), None),
        (String::new(), Some("not JSON")),
        ("[]".to_owned(), Some("no list `keys`")),
        (jwks(&[]), Some("no key")),
        (jwks(&[&key, &twin]), Some("same `kid`")),
        (with("d", json!("secret!")), Some("a private key")),
        (with("kid", json!(null)), Some("no `kid`")),
        (with("kid", json!("")), Some("no `kid`")),
        (with("crv", json!("X25519")), Some("not")),
        (with("x", json!("AAAA")), Some("wrong length")),
        (with("x", json!("***")), Some("cannot be read")),
        (
            json!({ "keys": [{ "kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB" }] }).to_string(),
            Some("not an Ed25519"),
        ),
        (
            json!({ "keys": [{ "kty": "oct", "kid": "o", "k": "secret!" }] }).to_string(),
            Some("not an Ed25519"),
        ),
    ] {
        let error = AccessTokens::new(ISSUER, AUDIENCE, &jwks).err();
        let matches = match (&error, reason) {
            (None, None) => true,
            (Some(error), Some(reason)) => error.contains(reason) && !error.contains("secret!"),
            _ => false,
        };
        assert!(matches, "{jwks}: {error:?}, expected {reason:?}");
    }
}

async fn buy(running: &Running, token: &str, key: &str, id: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", key)];
    running.post("/purchases", &headers, &json!({ "id": id })).await
}

#[tokio::test(start_paused = true)]
async fn two_users_with_the_same_idempotency_key_do_not_see_each_other() {
    let key = Key::new("k1", 1);
    let world = world(&[&key]);
    let running = world.run(shop());
    for (user, session, id, expected) in [
        ("ann", "s1", "a", Some("ann")),
        ("robert", "s2", "a", Some("robert")),
        // A repeat, also after another sign-in.
        ("ann", "s1", "a", Some("ann")),
        ("ann", "s3", "a", Some("ann")),
        // The same key for another purchase.
        ("ann", "s1", "b", None),
    ] {
        let answer = buy(&running, &key.token(user, session), "same", id).await;
        match expected {
            Some(payer) => {
                assert_eq!((answer.status, &answer.body["paidBy"]), (201, &payer.into()), "{answer:?}")
            }
            None => answer.assert_problem(422),
        }
    }
    // The repeats paid nothing: the last one who paid for `a` is robert.
    assert_eq!(world.counts().await, counts(&[("a", 6)]));
    world.settle().await;
    assert_eq!(world.documents("receipts").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_has_signed_out_cannot_pay() {
    let key = Key::new("k1", 1);
    let world = world(&[&key]);
    let running = world.run(shop());
    let token = key.token("ann", "s1");
    assert_eq!(buy(&running, &token, "1", "a").await.status, 201);
    // The service hears that the session has ended.
    let end = Pushed::event("e1", &Placed { order: "s1".to_owned(), quantity: 1 });
    assert_eq!(running.push(&end).await, 204);
    buy(&running, &token, "2", "b").await.assert_problem(401);
    // Another session of the same user is not affected. The first reply is still the reply.
    assert_eq!(buy(&running, &key.token("ann", "s2"), "3", "c").await.status, 201);
    assert_eq!(buy(&running, &token, "1", "a").await.status, 201);
    assert_eq!(world.counts().await, counts(&[("a", 3), ("c", 3)]));
}

/// The session ends after the handler has looked at it and before the commit.
#[tokio::test(start_paused = true)]
async fn a_sign_out_during_a_payment_wins() {
    let key = Key::new("k1", 1);
    let world = world(&[&key]);
    let other = world.run(shop());
    let slow = move |user: SignedIn, command: Command<Purchase>| {
        let other = other.clone();
        async move {
            let input = (user, command.body.id.clone(), other);
            let paid = command.run(input, |(user, id, other), cx| async move {
                let payer = user.confirm(&cx).await?;
                let end = Pushed::event("e1", &Placed { order: "s1".to_owned(), quantity: 1 });
                assert_eq!(other.push(&end).await, 204);
                pay(&payer, &id, &cx);
                Ok(Reply::created(&json!({})))
            });
            paid.await
        }
    };
    let running = world.run(service().signed_in().post("/purchases", slow));
    buy(&running, &key.token("ann", "s1"), "1", "a").await.assert_problem(401);
    assert_eq!(world.counts().await, counts(&[]));
}
