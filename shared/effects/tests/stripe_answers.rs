//! The outcome of each of Stripe's answers. The server here gives the answer that a test wants.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::Path, http::HeaderMap, http::StatusCode, routing};
use effects::payments::{Gateway, Money, Outcome, Payment};
use pushbox::Failure;
use serde_json::{Value, json};
use tokio::net::TcpListener;

fn payment() -> Payment {
    Payment {
        amount: Money { minor: 1050, currency: "eur".parse().unwrap() },
        method: "pm_1".to_owned(),
        reference: "user-1".to_owned(),
    }
}

async fn serve(routes: Router) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
    Gateway::stripe("sk_test_1", &base).unwrap()
}

/// Makes a charge. The server answers a POST with `post`, and a GET with `get`.
async fn charge(post: (u16, &str), get: (u16, &str)) -> Result<Outcome, Failure> {
    let answer = |(status, body): (u16, &str)| {
        let answer = (StatusCode::from_u16(status).unwrap(), [("request-id", "req_1")], body.to_owned());
        move || async { answer }
    };
    let routes = Router::new()
        .route("/v1/payment_intents", routing::post(answer(post)))
        .route("/v1/payment_intents/{id}", routing::get(answer(get)));
    serve(routes).await.charge(payment(), "key".to_owned()).await
}

fn shown(result: Result<Outcome, Failure>) -> String {
    match result {
        Ok(Outcome::Paid { id }) => format!("paid {id}"),
        Ok(Outcome::Declined { id, code }) => format!("declined {} {code}", id.unwrap_or_default()),
        Err(Failure::Retry(_)) => "retry".to_owned(),
        Err(Failure::Reject(reason)) => format!("reject {reason}"),
    }
}

fn intent(status: &str) -> String {
    let error = json!({ "type": "card_error", "code": "card_declined", "decline_code": "lost_card" });
    json!({ "id": "pi_1", "status": status, "last_payment_error": error }).to_string()
}

#[tokio::test]
async fn maps_each_answer_to_its_outcome() {
    let error = |error: Value| json!({ "error": error }).to_string();
    let card = json!({
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "message": "ann@example.com", "payment_intent": { "id": "pi_1", "status": "requires_payment_method" },
    });
    let unknown_method = json!({
        "type": "invalid_request_error", "code": "resource_missing", "param": "payment_method",
        "message": "No such PaymentMethod: 'ann@example.com'",
    });
    let invalid = json!({
        "type": "invalid_request_error", "code": "parameter_invalid_integer", "param": "amount",
        "message": "Invalid integer: 'ann@example.com'",
    });
    let refused = "reject Stripe refused the charge (request req_1): ";
    for (status, body, expected) in [
        (200, intent("succeeded"), "paid pi_1".to_owned()),
        (200, intent("requires_action"), "declined pi_1 authentication_required".to_owned()),
        (200, intent("requires_payment_method"), "declined pi_1 lost_card".to_owned()),
        (200, intent("canceled"), "declined pi_1 canceled".to_owned()),
        (
            200,
            intent("requires_capture"),
            "reject Stripe left the charge pi_1 at requires_capture".to_owned(),
        ),
        (200, "<html>".to_owned(), "retry".to_owned()),
        (402, error(card.clone()), "declined pi_1 insufficient_funds".to_owned()),
        (400, error(card), "declined pi_1 insufficient_funds".to_owned()),
        (402, error(json!({ "code": "expired_card" })), "declined  expired_card".to_owned()),
        (402, String::new(), "declined  card_declined".to_owned()),
        (400, error(unknown_method), "declined  resource_missing".to_owned()),
        (
            400,
            error(json!({ "type": "invalid_request_error", "code": "amount_too_small", "param": "amount" })),
            "declined  amount_too_small".to_owned(),
        ),
        (400, error(invalid), format!("{refused}invalid_request_error parameter_invalid_integer amount")),
        (400, error(json!({ "type": "idempotency_error" })), format!("{refused}idempotency_error")),
        (400, "bad gateway".to_owned(), "retry".to_owned()),
        (401, error(json!({ "type": "invalid_request_error" })), "retry".to_owned()),
        (403, error(json!({ "type": "invalid_request_error" })), "retry".to_owned()),
        (404, error(json!({ "type": "invalid_request_error" })), "retry".to_owned()),
        (
            409,
            error(json!({ "type": "idempotency_error", "code": "idempotency_key_in_use" })),
            "retry".to_owned(),
        ),
        (424, String::new(), "retry".to_owned()),
        (429, error(json!({ "type": "invalid_request_error", "code": "rate_limit" })), "retry".to_owned()),
        (307, String::new(), "retry".to_owned()),
        (500, error(json!({ "type": "api_error" })), "retry".to_owned()),
        (503, String::new(), "retry".to_owned()),
    ] {
        let found = charge((status, &body), (500, "")).await;
        assert_eq!(shown(found), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn asks_once_more_for_a_charge_that_is_processing() {
    for (status, body, expected) in [
        (200, intent("succeeded"), "paid pi_1"),
        (200, intent("requires_payment_method"), "declined pi_1 lost_card"),
        (200, intent("processing"), "retry"),
        (500, String::new(), "retry"),
    ] {
        let found = charge((200, &intent("processing")), (status, &body)).await;
        assert_eq!(shown(found), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_retry_names_the_error_without_its_message() {
    let body = r#"{"error":{"type":"api_error","code":"lock_timeout","message":"ann@example.com"}}"#;
    let Err(Failure::Retry(text)) = charge((500, body), (500, "")).await else { panic!("no retry") };
    assert_eq!(text, "Stripe answered 500 (request req_1): api_error lock_timeout");
}

#[tokio::test]
async fn a_charge_has_the_headers_and_fields_that_stripe_requires() {
    let seen = Arc::new(Mutex::new(None));
    let record = {
        let seen = seen.clone();
        move |headers: HeaderMap, body: Bytes| {
            let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
            *seen.lock().unwrap() = Some((headers, form));
            async { intent("succeeded") }
        }
    };
    let gateway = serve(Router::new().route("/v1/payment_intents", routing::post(record))).await;
    gateway.charge(payment(), "key-1".to_owned()).await.unwrap();

    let (headers, form) = seen.lock().unwrap().take().unwrap();
    assert_eq!(headers["idempotency-key"], "key-1");
    assert_eq!(headers["authorization"], "Bearer sk_test_1");
    assert!(headers.contains_key("stripe-version"));
    let expected = [
        ("amount", "1050"),
        ("currency", "eur"),
        ("payment_method", "pm_1"),
        ("payment_method_types[]", "card"),
        ("confirm", "true"),
        ("off_session", "true"),
        ("metadata[reference]", "user-1"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn an_unreachable_gateway_is_a_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gateway = Gateway::stripe("sk_test_1", &base).unwrap();
    assert_eq!(shown(gateway.charge(payment(), "key".to_owned()).await), "retry");
}

#[tokio::test]
async fn the_secret_key_does_not_follow_a_redirect() {
    let elsewhere = Arc::new(Mutex::new(0));
    let count = elsewhere.clone();
    let routes = Router::new()
        .route(
            "/v1/payment_intents",
            routing::post(|| async { (StatusCode::TEMPORARY_REDIRECT, [("location", "/away")]) }),
        )
        .route(
            "/{path}",
            routing::any(move |Path(_): Path<String>| async move { *count.lock().unwrap() += 1 }),
        );
    assert_eq!(shown(serve(routes).await.charge(payment(), "key".to_owned()).await), "retry");
    assert_eq!(*elsewhere.lock().unwrap(), 0);
}
