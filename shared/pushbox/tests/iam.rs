//! The check of tokens that Cloud Run has verified. Cloud Run passes them on without their signature.

use axum::http::Method;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use pushbox::{Context, PushAuth};
use serde_json::{Value, json};

use crate::suite::{Placed, Pushed, Running, World, request, service};

const ACCOUNT: &str = "crm-service-push@my-project.iam.gserviceaccount.com";

fn guarded() -> Running {
    let service = service().on(|_: Placed, _: Context| async { Ok(()) }).get("/contacts", || async { "[]" });
    World::new().run_guarded(service, PushAuth::Iam { service_account: ACCOUNT.into() })
}

/// A token as Cloud Run passes it on.
fn bearer(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "RS256", "kid": "k1", "typ": "JWT" });
    format!("Bearer {}.{}.SIGNATURE_REMOVED_BY_GOOGLE", part(&header), part(claims))
}

async fn status(running: &Running, path: &str, headers: &[(&str, &str)]) -> u16 {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let body = Pushed::order("a").envelope().to_string();
    let answer = running.send(request(Method::POST, path, &headers, body)).await;
    if answer.status >= 400 {
        answer.assert_problem(answer.status);
    }
    assert_eq!(answer.header("www-authenticate"), (answer.status == 401).then_some("Bearer"));
    answer.status
}

#[tokio::test]
async fn accepts_only_tokens_of_the_push_account() {
    let running = guarded();
    let valid = bearer(&json!({ "email": ACCOUNT, "email_verified": true }));
    let payload = valid.split('.').nth(1).expect("a payload");
    let padded = STANDARD.encode(json!({ "email": ACCOUNT, "email_verified": true }).to_string() + " ");
    let operator = bearer(&json!({ "email": "ada@example.com", "email_verified": true }));
    for (case, authorization, expected) in [
        ("the push account", valid.clone(), 204),
        ("another spelling of the scheme", valid.replace("Bearer", "bearer"), 204),
        ("an operator", operator, 403),
        (
            "the address in other letters",
            bearer(&json!({ "email": ACCOUNT.to_uppercase(), "email_verified": true })),
            403,
        ),
        (
            "a longer address",
            bearer(&json!({ "email": format!("{ACCOUNT}.example.com"), "email_verified": true })),
            403,
        ),
        ("an unverified address", bearer(&json!({ "email": ACCOUNT, "email_verified": false })), 403),
        ("no email_verified", bearer(&json!({ "email": ACCOUNT })), 403),
        ("no address", bearer(&json!({ "email_verified": true })), 403),
        ("no token", String::new(), 401),
        ("another scheme", valid.replace("Bearer", "Basic"), 401),
        ("garbage", "Bearer garbage".to_owned(), 401),
        ("one part", format!("Bearer {payload}"), 401),
        ("two parts", format!("Bearer {payload}.{payload}"), 401),
        ("four parts", format!("{valid}.{payload}"), 401),
        ("a payload that is not base64url", format!("Bearer a.{padded}.c"), 401),
        ("a payload that is not JSON", format!("Bearer a.{}.c", URL_SAFE_NO_PAD.encode("{")), 401),
        ("a payload that is not an object", format!("Bearer a.{}.c", URL_SAFE_NO_PAD.encode("7")), 401),
        ("an address that is not text", bearer(&json!({ "email": 7, "email_verified": true })), 401),
    ] {
        let headers = [("authorization", authorization.as_str())];
        let headers = if authorization.is_empty() { &[] } else { &headers[..] };
        assert_eq!(status(&running, "/", headers).await, expected, "{case}");
    }
}

/// With X-Serverless-Authorization, Cloud Run verifies that token, and passes Authorization on as it is.
#[tokio::test]
async fn rejects_a_token_that_cloud_run_has_not_verified() {
    let running = guarded();
    let forged = bearer(&json!({ "email": ACCOUNT, "email_verified": true }));
    let operator = bearer(&json!({ "email": "ada@example.com", "email_verified": true }));
    for path in ["/", "/relay"] {
        let both = [("authorization", forged.as_str()), ("x-serverless-authorization", &operator)];
        assert_eq!(status(&running, path, &both).await, 401, "{path}");
        let two = [("authorization", forged.as_str()), ("authorization", &operator)];
        assert_eq!(status(&running, path, &two).await, 401, "{path}");
    }
}

#[tokio::test]
async fn operators_reach_the_routes_but_neither_pushes_nor_the_relay() {
    let running = guarded();
    let operator = bearer(&json!({ "email": "ada@example.com", "email_verified": true }));
    let headers = [("authorization", operator.as_str())];
    for (method, path, expected) in [
        (Method::GET, "/contacts", 200),
        (Method::GET, "/healthz", 200),
        (Method::POST, "/", 403),
        (Method::POST, "/relay", 403),
    ] {
        let answer = running.send(request(method, path, &headers, "")).await;
        assert_eq!(answer.status, expected, "{path}");
    }
    let push_account = bearer(&json!({ "email": ACCOUNT, "email_verified": true }));
    assert_eq!(status(&running, "/relay", &[("authorization", &push_account)]).await, 200);
}
