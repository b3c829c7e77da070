//! The outcome of each of Stripe's answers. The server here gives the answer that a test wants.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::Path, http::HeaderMap, http::StatusCode, routing};
use effects::payments::{Deadline, Gateway, Money, Outcome, Payment, Refund, RefundOutcome};
use pushbox::{Clock, Failure};
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
    Gateway::stripe("sk_test_1", &base, at_noon()).unwrap()
}

fn at_noon() -> Clock {
    Clock::following_tokio("2026-11-20T12:00:00Z".parse().unwrap())
}

/// A server that answers each POST with `post`, and each GET with `get`.
async fn answering(post: (u16, &str), get: (u16, &str)) -> Gateway {
    let answer = |(status, body): (u16, &str)| {
        let answer = (StatusCode::from_u16(status).unwrap(), [("request-id", "req_1")], body.to_owned());
        move || async { answer }
    };
    let routes = Router::new()
        .route("/v1/payment_intents", routing::post(answer(post)))
        .route("/v1/payment_intents/{id}", routing::get(answer(get)))
        .route("/v1/payment_intents/{id}/cancel", routing::post(answer(post)))
        .route("/v1/refunds", routing::post(answer(post)).get(answer(get)))
        .route("/v1/refunds/{id}", routing::get(answer(get)));
    serve(routes).await
}

async fn charge(post: (u16, &str), get: (u16, &str)) -> Result<Outcome, Failure> {
    answering(post, get).await.charge(payment(), "key".to_owned()).await
}

async fn refund(post: (u16, &str), get: (u16, &str)) -> String {
    let Payment { amount, reference, .. } = payment();
    let refund = Refund { charge_id: "pi_1".to_owned(), amount, reference };
    match answering(post, get).await.refund(refund, "key".to_owned()).await {
        Ok(RefundOutcome::Refunded { id }) => format!("refunded {id}"),
        Ok(RefundOutcome::Failed { code }) => format!("failed {code}"),
        Err(failure) => shown_failure(failure),
    }
}

async fn cancel(post: (u16, &str), get: (u16, &str)) -> String {
    match answering(post, get).await.cancel("pi_1".to_owned(), "key".to_owned()).await {
        Ok(cancellation) => format!("{cancellation:?}"),
        Err(failure) => shown_failure(failure),
    }
}

fn shown(result: Result<Outcome, Failure>) -> String {
    match result {
        Ok(Outcome::Paid { id }) => format!("paid {id}"),
        Ok(Outcome::Declined { id, code }) => format!("declined {} {code}", id.unwrap_or_default()),
        Err(failure) => shown_failure(failure),
    }
}

fn shown_failure(failure: Failure) -> String {
    match failure {
        Failure::Retry(_) => "retry".to_owned(),
        Failure::Reject(reason) => format!("reject {reason}"),
    }
}

fn intent(status: &str) -> String {
    intent_over(status, 1050, "eur")
}

fn intent_over(status: &str, amount: u64, currency: &str) -> String {
    let problem = json!({ "type": "card_error", "code": "card_declined", "decline_code": "lost_card" });
    json!({
        "id": "pi_1", "status": status, "amount": amount, "currency": currency, "last_payment_error": problem,
    })
    .to_string()
}

fn refund_at(status: &str) -> Value {
    json!({ "id": "re_1", "status": status, "amount": 1050, "currency": "eur", "metadata": { "key": "key" } })
}

fn error(error: Value) -> String {
    json!({ "error": error }).to_string()
}

#[tokio::test]
async fn maps_each_answer_to_its_outcome() {
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
        (
            200,
            intent_over("succeeded", 1051, "eur"),
            "reject Stripe charged another amount: see pi_1".to_owned(),
        ),
        (
            200,
            intent_over("succeeded", 1050, "usd"),
            "reject Stripe charged another amount: see pi_1".to_owned(),
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
        (
            400,
            error(json!({
                "type": "invalid_request_error", "code": "invalid_charge_amount_no_decimal_compatible",
            })),
            "declined  invalid_charge_amount_no_decimal_compatible".to_owned(),
        ),
        (
            400,
            error(json!({ "type": "invalid_request_error", "param": "currency" })),
            "declined  invalid_currency".to_owned(),
        ),
        (
            400,
            error(json!({ "type": "invalid_request_error", "code": "payment_method_unactivated" })),
            "declined  payment_method_unactivated".to_owned(),
        ),
        (
            400,
            error(json!({ "type": "idempotency_error", "param": "currency" })),
            format!("{refused}idempotency_error currency"),
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

/// Charges in time or late. The server opens `pi_1`, answers the confirmation or the cancellation with `post`, and the
/// question for the state with `get`.
async fn charge_until(is_late: bool, open: (u16, &str), post: (u16, &str), get: (u16, &str)) -> String {
    let answer = |(status, body): (u16, &str)| {
        let answer = (StatusCode::from_u16(status).unwrap(), [("request-id", "req_1")], body.to_owned());
        move || async { answer }
    };
    let step = if is_late { "cancel" } else { "confirm" };
    let routes = Router::new()
        .route("/v1/payment_intents", routing::post(answer(open)))
        .route("/v1/payment_intents/{id}", routing::get(answer(get)))
        .route(&format!("/v1/payment_intents/{{id}}/{step}"), routing::post(answer(post)));
    shown(serve(routes).await.charge_until(payment(), deadline(is_late), "key".to_owned()).await)
}

/// At noon, half a minute or a moment is left.
fn deadline(is_late: bool) -> Deadline {
    let until = if is_late { "2026-11-20T12:00:07Z" } else { "2026-11-20T12:00:30Z" };
    Deadline { until: until.parse().unwrap(), begun_at: "2026-11-20T11:59:00Z".parse().unwrap() }
}

#[tokio::test]
async fn maps_each_answer_to_an_opened_charge_to_its_outcome() {
    let invalid = |field: &str, value: &str| error(json!({ "type": "invalid_request_error", field: value }));
    let method = invalid("param", "payment_method");
    for (status, body, expected) in [
        (200, intent("requires_confirmation"), "paid pi_1"),
        (200, intent("succeeded"), "reject Stripe opened the charge pi_1 at succeeded"),
        (
            200,
            intent_over("requires_confirmation", 1051, "eur"),
            "reject Stripe opened a charge of another amount: see pi_1",
        ),
        (400, method, "declined  invalid_payment_method"),
        (400, invalid("code", "amount_too_small"), "declined  amount_too_small"),
        (
            400,
            error(json!({ "type": "idempotency_error" })),
            "reject Stripe refused the charge (request req_1): idempotency_error",
        ),
        (500, String::new(), "retry"),
    ] {
        let found = charge_until(false, (status, &body), (200, &intent("succeeded")), (500, "")).await;
        assert_eq!(found, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn an_opened_charge_is_confirmed_or_called_off() {
    let open = intent("requires_confirmation");
    let refused =
        error(json!({ "type": "invalid_request_error", "code": "payment_intent_unexpected_state" }));
    let card = error(json!({ "type": "card_error", "decline_code": "lost_card" }));
    let idempotency = error(json!({ "type": "idempotency_error" }));
    let refused_as =
        |what: &str| format!("reject Stripe refused the {what} (request req_1): idempotency_error");
    let left = "reject Stripe left the charge pi_1 at requires_confirmation".to_owned();
    for (is_late, post, get, expected) in [
        (false, (200, intent("succeeded")), None, "paid pi_1".to_owned()),
        (false, (402, card), None, "declined pi_1 lost_card".to_owned()),
        (false, (200, intent("requires_action")), None, "declined pi_1 authentication_required".to_owned()),
        (false, (200, intent("processing")), Some("succeeded"), "paid pi_1".to_owned()),
        (false, (200, intent("processing")), Some("processing"), "retry".to_owned()),
        // Another attempt has been here.
        (false, (400, refused.clone()), Some("canceled"), "declined pi_1 canceled".to_owned()),
        (false, (400, refused.clone()), Some("succeeded"), "paid pi_1".to_owned()),
        (false, (400, refused.clone()), Some("requires_confirmation"), left.clone()),
        (false, (400, idempotency.clone()), Some("canceled"), refused_as("charge")),
        (false, (500, String::new()), Some("succeeded"), "retry".to_owned()),
        (true, (200, intent("canceled")), None, "declined  too_late".to_owned()),
        (true, (400, refused.clone()), Some("succeeded"), "paid pi_1".to_owned()),
        (true, (400, refused.clone()), Some("canceled"), "declined pi_1 canceled".to_owned()),
        (true, (400, refused.clone()), Some("processing"), "retry".to_owned()),
        (true, (400, refused.clone()), Some("requires_payment_method"), "declined pi_1 lost_card".to_owned()),
        (true, (400, refused), Some("requires_confirmation"), left),
        (true, (400, idempotency), Some("canceled"), refused_as("cancellation")),
        (true, (500, String::new()), Some("succeeded"), "retry".to_owned()),
    ] {
        let state = get.map(intent);
        let get = state.as_deref().map_or((500, ""), |state| (200, state));
        let found = charge_until(is_late, (200, &open), (post.0, &post.1), get).await;
        assert_eq!(found, expected, "late: {is_late} {post:?} {get:?}");
    }
}

/// The path, the idempotency key and the form of each POST.
type Posts = Arc<Mutex<Vec<(String, String, HashMap<String, String>)>>>;

#[tokio::test]
async fn a_charge_with_a_deadline_takes_no_money_before_it_is_confirmed() {
    let open = [
        ("amount", "1050"),
        ("currency", "eur"),
        ("payment_method", "pm_1"),
        ("payment_method_types[]", "card"),
        ("metadata[reference]", "user-1"),
    ];
    for (is_late, step, form) in
        [(false, "confirm", vec![("off_session", "true")]), (true, "cancel", Vec::new())]
    {
        let posts = Posts::default();
        let record = {
            let posts = posts.clone();
            move |uri: axum::http::Uri, headers: HeaderMap, form: Bytes| {
                let form = url::form_urlencoded::parse(&form).into_owned().collect();
                let key = headers["idempotency-key"].to_str().unwrap().to_owned();
                posts.lock().unwrap().push((uri.path().to_owned(), key, form));
                let state = match uri.path().rsplit('/').next() {
                    Some("confirm") => "succeeded",
                    Some("cancel") => "canceled",
                    _ => "requires_confirmation",
                };
                async { intent(state) }
            }
        };
        let gateway = serve(Router::new().fallback(record)).await;
        gateway.charge_until(payment(), deadline(is_late), "key-1".to_owned()).await.unwrap();
        let path = "/v1/payment_intents".to_owned();
        let owned = |form: &[(&str, &str)]| {
            form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let second = (format!("{path}/pi_1/{step}"), format!("key-1-{step}"), owned(&form));
        let expected = vec![(path, "key-1".to_owned(), owned(&open)), second];
        assert_eq!(*posts.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn maps_each_answer_to_a_refund_to_its_outcome() {
    let code = |code: &str| error(json!({ "type": "invalid_request_error", "code": code }));
    let changed = |name: &str, value: Value| {
        let mut refund = refund_at("succeeded");
        refund[name] = value;
        refund.to_string()
    };
    let refused = "reject Stripe refused the refund (request req_1): invalid_request_error";
    for (status, body, expected) in [
        (200, refund_at("succeeded").to_string(), "refunded re_1".to_owned()),
        (200, refund_at("canceled").to_string(), "failed canceled".to_owned()),
        (200, refund_at("failed").to_string(), "failed failed".to_owned()),
        (
            200,
            refund_at("requires_action").to_string(),
            "reject Stripe left the refund re_1 at requires_action".to_owned(),
        ),
        (200, changed("amount", json!(1049)), "reject Stripe refunded another amount: see re_1".to_owned()),
        (
            200,
            changed("currency", json!("usd")),
            "reject Stripe refunded another amount: see re_1".to_owned(),
        ),
        (200, "<html>".to_owned(), "retry".to_owned()),
        (400, code("charge_disputed"), "failed charge_disputed".to_owned()),
        (400, code("balance_insufficient"), "failed balance_insufficient".to_owned()),
        (
            400,
            error(json!({ "type": "card_error", "code": "expired_card" })),
            "failed expired_card".to_owned(),
        ),
        (402, String::new(), "failed card_declined".to_owned()),
        (400, code("parameter_missing"), format!("{refused} parameter_missing")),
        (
            400,
            error(json!({ "type": "idempotency_error" })),
            refused.replace("invalid_request", "idempotency"),
        ),
        (400, "bad gateway".to_owned(), "retry".to_owned()),
        (401, code("api_key_expired"), "retry".to_owned()),
        (404, code("resource_missing"), "retry".to_owned()),
        (409, code("idempotency_key_in_use"), "retry".to_owned()),
        (429, code("rate_limit"), "retry".to_owned()),
        (500, error(json!({ "type": "api_error" })), "retry".to_owned()),
        (503, String::new(), "retry".to_owned()),
    ] {
        assert_eq!(refund((status, &body), (500, "")).await, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn asks_once_more_for_a_refund_that_is_pending() {
    let failed = json!({
        "id": "re_1", "status": "failed", "amount": 1050, "currency": "eur",
        "failure_reason": "expired_or_canceled_card",
    });
    for (status, body, expected) in [
        (200, refund_at("succeeded").to_string(), "refunded re_1"),
        (200, failed.to_string(), "failed expired_or_canceled_card"),
        (200, refund_at("pending").to_string(), "retry"),
        (404, String::new(), "retry"),
        (500, String::new(), "retry"),
    ] {
        let found = refund((200, &refund_at("pending").to_string()), (status, &body)).await;
        assert_eq!(found, expected, "{status} {body}");
    }
}

/// Stripe has forgotten the idempotency key, or somebody has refunded the charge in the dashboard.
#[tokio::test]
async fn an_earlier_refund_counts_if_it_gave_back_the_whole_charge() {
    let already = error(json!({ "type": "invalid_request_error", "code": "charge_already_refunded" }));
    let with = |changes: Value| {
        let mut refund = refund_at("succeeded");
        for (name, value) in changes.as_object().unwrap() {
            refund[name] = value.clone();
        }
        refund
    };
    let others = |id: &str| with(json!({ "id": id, "metadata": {} }));
    let parts =
        [with(json!({ "amount": 1000, "metadata": {} })), with(json!({ "amount": 50, "metadata": {} }))];
    for (list, expected) in [
        (vec![refund_at("succeeded")], "refunded re_1"),
        (vec![others("re_2"), refund_at("succeeded")], "refunded re_1"),
        (vec![others("re_2")], "refunded re_2"),
        (vec![others("re_2"), refund_at("failed")], "refunded re_2"),
        (vec![refund_at("pending")], "retry"),
        (parts.into(), "failed charge_already_refunded"),
        (vec![refund_at("failed")], "failed charge_already_refunded"),
        (Vec::new(), "failed charge_already_refunded"),
    ] {
        let body = json!({ "data": list }).to_string();
        let found = refund((400, &already), (200, &body)).await;
        // A pending refund is asked for once more: the server answers with the list, which is no refund.
        assert_eq!(found, expected, "{body}");
    }
    assert_eq!(refund((400, &already), (500, "")).await, "retry");
}

#[tokio::test]
async fn a_cancellation_tells_whether_the_charge_is_closed_or_paid() {
    let refused =
        error(json!({ "type": "invalid_request_error", "code": "payment_intent_unexpected_state" }));
    let left = "reject Stripe does not cancel the charge pi_1 at requires_capture";
    for (post, get, expected) in [
        ((200, intent("canceled")), (500, String::new()), "Cancelled"),
        ((400, refused.clone()), (200, intent("canceled")), "Cancelled"),
        ((400, refused.clone()), (200, intent("succeeded")), "Paid"),
        ((400, refused.clone()), (200, intent("processing")), "retry"),
        ((400, refused.clone()), (200, intent("requires_capture")), left),
        ((400, refused), (500, String::new()), "retry"),
        (
            (400, error(json!({ "type": "idempotency_error" }))),
            (200, intent("canceled")),
            "reject Stripe refused the cancellation (request req_1): idempotency_error",
        ),
        ((401, String::new()), (200, intent("canceled")), "retry"),
        ((500, String::new()), (200, intent("canceled")), "retry"),
    ] {
        let found = cancel((post.0, &post.1), (get.0, &get.1)).await;
        assert_eq!(found, expected, "{post:?} {get:?}");
    }
}

#[tokio::test]
async fn a_malformed_id_reaches_no_server() {
    let gateway = answering((200, &intent("canceled")), (200, "")).await;
    for id in ["", "pi_1/../pi_2", "pi_1?x=y", "pi 1"] {
        let found = gateway.clone().cancel(id.to_owned(), "key".to_owned()).await;
        assert!(matches!(found, Err(Failure::Reject(_))), "{id}");
    }
}

#[tokio::test]
async fn a_retry_names_the_error_without_its_message() {
    let body = r#"{"error":{"type":"api_error","code":"lock_timeout","message":"ann@example.com"}}"#;
    let Err(Failure::Retry(text)) = charge((500, body), (500, "")).await else { panic!("no retry") };
    assert_eq!(text, "Stripe answered 500 (request req_1): api_error lock_timeout");
}

/// The last request that a server got: its headers and its form.
type Seen = Arc<Mutex<Option<(HeaderMap, HashMap<String, String>)>>>;

/// A server that records each request, and answers with `body`.
async fn recording(path: &str, body: String) -> (Gateway, Seen) {
    let seen = Seen::default();
    let record = {
        let seen = seen.clone();
        move |headers: HeaderMap, form: Bytes| {
            let form = url::form_urlencoded::parse(&form).into_owned().collect();
            *seen.lock().unwrap() = Some((headers, form));
            async { body }
        }
    };
    (serve(Router::new().route(path, routing::post(record))).await, seen)
}

/// The form of the recorded request, which has the headers of every call.
fn form_of(seen: &Seen) -> HashMap<String, String> {
    let (headers, form) = seen.lock().unwrap().take().unwrap();
    assert_eq!(headers["idempotency-key"], "key-1");
    assert_eq!(headers["authorization"], "Bearer sk_test_1");
    assert!(headers.contains_key("stripe-version"));
    form
}

#[tokio::test]
async fn a_refund_names_the_charge_the_amount_and_the_key() {
    let (gateway, seen) = recording("/v1/refunds", refund_at("succeeded").to_string()).await;
    let Payment { amount, reference, .. } = payment();
    let refund = Refund { charge_id: "pi_1".to_owned(), amount, reference };
    gateway.refund(refund, "key-1".to_owned()).await.unwrap();
    let expected = [
        ("payment_intent", "pi_1"),
        ("amount", "1050"),
        ("metadata[reference]", "user-1"),
        ("metadata[key]", "key-1"),
    ];
    assert_eq!(form_of(&seen), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn a_charge_has_the_headers_and_fields_that_stripe_requires() {
    let (gateway, seen) = recording("/v1/payment_intents", intent("succeeded")).await;
    gateway.charge(payment(), "key-1".to_owned()).await.unwrap();
    let expected = [
        ("amount", "1050"),
        ("currency", "eur"),
        ("payment_method", "pm_1"),
        ("payment_method_types[]", "card"),
        ("confirm", "true"),
        ("off_session", "true"),
        ("metadata[reference]", "user-1"),
    ];
    assert_eq!(form_of(&seen), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn an_unreachable_gateway_is_a_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gateway = Gateway::stripe("sk_test_1", &base, at_noon()).unwrap();
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
