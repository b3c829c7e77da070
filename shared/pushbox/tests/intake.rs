//! Each form in which a message may arrive, and what becomes of it.

use std::io;

use axum::{
    body::Body,
    http::{Method, Request},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, stream};
use pushbox::{Context, Service};
use serde_json::{Value, json};

use crate::suite::{Placed, Pushed, Refusal, Running, Shipped, World, count, push_of, request, service};

/// Notes the order that it was given.
fn noting() -> Service {
    service().on(|placed: Placed, cx: Context| async move {
        cx.put(&count(&placed.order, i64::from(placed.quantity)));
        Ok(())
    })
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

const ORDER: &str = r#"{"order":"a","quantity":2,"event":"order.placed"}"#;
const STRUCTURED: &str = r#"{"specversion":"1.0","id":"7","source":"//other","type":"order.placed",
    "time":"2026-11-20T11:59:00Z","data":{"order":"a","quantity":2}}"#;

/// What a push leads to.
#[derive(Debug, PartialEq)]
enum Becomes {
    /// The order is noted, with a receipt for this key.
    Handled(&'static str),
    Ignored,
    /// A dead letter, with this reason.
    Rejected(&'static str),
    Refused(u16),
}

async fn check(case: &str, push: Request<Body>, expected: Becomes) {
    let world = World::new();
    let answer = world.run(noting()).send(push).await;
    let receipts = world.documents("receipts").await;
    let found = match (answer.status, receipts.first(), world.published.messages().first()) {
        (204, Some(_), None) => {
            assert_eq!(world.counts().await.get("a"), Some(&2), "{case}");
            let Becomes::Handled(key) = &expected else { panic!("{case}: it was handled") };
            assert_eq!(receipts[0]["key"], *key, "{case}");
            return;
        }
        (204, None, None) => Becomes::Ignored,
        (204, None, Some(letter)) => {
            assert_eq!(letter.topic, "test-service-dead-letter", "{case}");
            let Becomes::Rejected(reason) = &expected else { panic!("{case}: it was rejected") };
            assert_eq!(letter.attributes["dead-letter-reason"], *reason, "{case}");
            return;
        }
        (status, None, None) => {
            answer.is_problem(status);
            Becomes::Refused(status)
        }
        other => panic!("{case}: {other:?}"),
    };
    assert_eq!(found, expected, "{case}");
}

#[tokio::test]
async fn wrapped_pushes() {
    let subscription = "projects/p/subscriptions/s";
    let ce = json!({ "ce-id": "7", "ce-source": "//other", "ce-type": "order.placed" });
    let plain = r#"{"order":"a","quantity":2}"#;
    let cases = [
        (
            "by hand, without attributes",
            json!({ "data": base64(ORDER), "messageId": "1" }),
            Becomes::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "the other spelling",
            json!({ "data": base64(ORDER), "message_id": "1" }),
            Becomes::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "both spellings",
            json!({ "data": base64(ORDER), "messageId": "1", "message_id": "1", "publishTime": "2026-11-20T11:59:00Z", "publish_time": "2026-11-20T11:59:00Z" }),
            Becomes::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "unknown members",
            json!({ "data": base64(ORDER), "messageId": "1", "orderingKey": "k", "new": [1] }),
            Becomes::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "empty attributes",
            json!({ "data": base64(ORDER), "messageId": "1", "attributes": {} }),
            Becomes::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "null attributes",
            json!({ "data": base64(ORDER), "messageId": "1", "attributes": null }),
            Becomes::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "a CloudEvent",
            json!({ "data": base64(plain), "messageId": "1", "attributes": ce }),
            Becomes::Handled("//other 7"),
        ),
        (
            "a structured CloudEvent",
            json!({ "data": base64(STRUCTURED), "messageId": "1", "attributes": { "content-type": "application/cloudevents+json; charset=utf-8" } }),
            Becomes::Handled("//other 7"),
        ),
        (
            "an unknown type",
            json!({ "data": base64("not even JSON"), "messageId": "1", "attributes": { "ce-type": "other" } }),
            Becomes::Ignored,
        ),
        (
            "an unknown type in the data",
            json!({ "data": base64(r#"{"event":"other"}"#), "messageId": "1" }),
            Becomes::Ignored,
        ),
        (
            "nothing at all",
            json!({ "messageId": "1" }),
            Becomes::Rejected("neither the attribute ce-type nor the field `event` says what this is"),
        ),
        (
            "no data for a known type",
            json!({ "messageId": "1", "attributes": ce }),
            Becomes::Rejected("not a order.placed: EOF while parsing a value"),
        ),
        (
            "not base64",
            json!({ "data": "%%%", "messageId": "1" }),
            Becomes::Rejected("the data is not base64"),
        ),
        (
            "not JSON",
            json!({ "data": base64("nonsense"), "messageId": "1" }),
            Becomes::Rejected("the data is not a JSON object with a text field `event`"),
        ),
        (
            "a list",
            json!({ "data": base64(r#"["order.placed"]"#), "messageId": "1" }),
            Becomes::Rejected("the data is not a JSON object with a text field `event`"),
        ),
        (
            "a type that is no text",
            json!({ "data": base64(r#"{"event":5}"#), "messageId": "1" }),
            Becomes::Rejected("the data is not a JSON object with a text field `event`"),
        ),
        (
            "a missing field",
            json!({ "data": base64(r#"{"event":"order.placed"}"#), "messageId": "1" }),
            Becomes::Rejected("not a order.placed: missing field `order`"),
        ),
        (
            "a wrong type",
            json!({ "data": base64(r#"{"event":"order.placed","order":"a","quantity":"secret"}"#), "messageId": "1" }),
            Becomes::Rejected("not a order.placed: invalid type, expected u32 at /quantity"),
        ),
        (
            "a list for an event",
            json!({ "data": base64(r#"["a",2]"#), "messageId": "1", "attributes": ce }),
            Becomes::Rejected("not a order.placed: not an object"),
        ),
        (
            "not a structured CloudEvent",
            json!({ "data": base64("{}"), "messageId": "1", "attributes": { "content-type": "application/cloudevents+json" } }),
            Becomes::Rejected("the data is not a structured CloudEvent"),
        ),
        ("no message id", json!({ "data": base64(ORDER) }), Becomes::Refused(400)),
        (
            "attributes of another form",
            json!({ "data": base64(ORDER), "messageId": "1", "attributes": ["a"] }),
            Becomes::Refused(400),
        ),
    ];
    for (case, message, expected) in cases {
        check(case, push_of(&json!({ "subscription": subscription, "message": message })), expected).await;
    }
    for (case, body) in
        [("no message", json!({ "data": "e30=" })), ("a list", json!([])), ("null", Value::Null)]
    {
        check(case, push_of(&body), Becomes::Refused(400)).await;
    }
    check("not JSON at all", request(axum::http::Method::POST, "/", &[], "nonsense"), Becomes::Refused(400))
        .await;
}

#[tokio::test]
async fn pushes_with_attributes_as_headers() {
    let unwrapped = [
        ("x-goog-pubsub-message-id", "1"),
        ("x-goog-pubsub-subscription-name", "projects/p/subscriptions/s"),
    ];
    let binary =
        [("ce-id", "7"), ("ce-source", "//other"), ("ce-type", "order.placed"), ("ce-specversion", "1.0")];
    let structured = [("content-type", "application/cloudevents+json")];
    let both = [&unwrapped[..], &binary[..]].concat();
    let encoded = STRUCTURED
        .replace(r#""data":{"order":"a","quantity":2}"#, &format!(r#""data_base64":"{}""#, base64(ORDER)));
    for (case, headers, body, expected) in [
        ("unwrapped, by hand", &unwrapped[..], ORDER, Becomes::Handled("projects/p/subscriptions/s 1")),
        ("unwrapped", &both, ORDER, Becomes::Handled("//other 7")),
        (
            "unwrapped and empty",
            &unwrapped,
            "",
            Becomes::Rejected("neither the attribute ce-type nor the field `event` says what this is"),
        ),
        ("binary mode", &binary, ORDER, Becomes::Handled("//other 7")),
        ("structured mode", &structured, STRUCTURED, Becomes::Handled("//other 7")),
        ("structured mode in base64", &structured, &encoded, Becomes::Handled("//other 7")),
        ("not structured after all", &structured, "{}", Becomes::Refused(400)),
        ("data alone", &[], ORDER, Becomes::Refused(400)),
    ] {
        check(case, request(axum::http::Method::POST, "/", headers, body.to_owned()), expected).await;
    }
}

#[tokio::test]
async fn a_dead_letter_is_the_message_and_the_reason() {
    let world = World::new();
    let mut pushed = Pushed::order("a").with("mine", "kept");
    pushed.data = br#"{"order":"secret@example.com","quantity":"secret"}"#.to_vec();
    assert_eq!(world.run(noting()).push(&pushed).await, 204);
    let letter = world.published.only();
    assert_eq!(letter.data, pushed.data);
    assert!(pushed.attributes.iter().all(|(name, value)| letter.attributes.get(name) == Some(value)));
    assert_eq!(letter.attributes["dead-letter-service"], "test-service");
    assert_eq!(letter.attributes["dead-letter-message-id"], pushed.message_id);
    assert_eq!(
        letter.attributes["dead-letter-subscription"],
        "projects/p/subscriptions/test-service-order-events"
    );
    assert!(!letter.attributes["dead-letter-reason"].contains("secret"));
}

#[tokio::test]
async fn a_message_that_cannot_be_parked_is_not_acked() {
    let world = World::new();
    world.published.next(&[Refusal::Fails]);
    let pushed = Pushed { data: b"nonsense".to_vec(), ..Pushed::order("a") };
    let running = world.run(noting());
    assert_eq!(running.push(&pushed).await, 503);
    assert_eq!(running.push(&pushed).await, 204);
    assert_eq!(world.published.len(), 1);
}

#[tokio::test]
async fn ten_megabytes_pass_and_more_than_a_push_can_be_does_not() {
    let world = World::new();
    let running = world.run(noting());
    let order = |filler: usize| {
        let data = format!(r#"{{"order":"a","quantity":2,"filler":"{}"}}"#, "x".repeat(filler));
        Pushed { data: data.into_bytes(), ..Pushed::order("a") }
    };
    assert_eq!(running.push(&order(10 << 20)).await, 204);
    assert_eq!(world.counts().await.get("a"), Some(&2));
    running.send(order(14 << 20).request()).await.is_problem(413);
}

/// A consumer's events go on in the trace of what it handles.
#[tokio::test]
async fn a_trace_goes_on_from_the_message_else_from_the_request() {
    let [of_message, of_request] = ["4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"];
    let traceparent = |trace: &str| format!("00-{trace}-00f067aa0ba902b7-01");
    let shipping = || {
        service().publishes::<Shipped>().on(|placed: Placed, cx: Context| async move {
            cx.publish(&Shipped { order: placed.order });
            Ok(())
        })
    };
    for (message, expected) in [
        (Pushed::order("a").with("traceparent", &traceparent(of_message)), of_message),
        (Pushed::order("a"), of_request),
        (Pushed::order("a").with("traceparent", ""), of_request),
    ] {
        let world = World::new();
        let mut push = message.request();
        let header = traceparent(of_request).parse().expect("a header");
        push.headers_mut().insert("traceparent", header);
        assert_eq!(world.run(shipping()).send(push).await.status, 204);
        let published = &world.published.only().attributes["traceparent"];
        assert!(published.contains(expected) && published.ends_with("-01"), "{published}");
        assert!(!published.contains("00f067aa0ba902b7"), "its own span: {published}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_that_cannot_be_read_gets_an_answer_all_the_same() {
    let running = World::new().run(noting());
    let never = stream::pending::<io::Result<&str>>();
    let breaks = stream::once(async { Err::<&str, _>(io::Error::other("told to")) });
    let panics = stream::once(async { panic!("told to") }).map(|()| io::Result::Ok(""));
    for (status, body) in
        [(503, Body::from_stream(never)), (400, Body::from_stream(breaks)), (500, Body::from_stream(panics))]
    {
        running.send(request(Method::POST, "/", &[], body)).await.is_problem(status);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_cannot_do_now_is_delivered_again() {
    let world = World::new();
    let failing: Running = world.run(service().on(|placed: Placed, _: Context| async move {
        match placed.order.as_str() {
            "panic" => panic!("told to"),
            "slow" => std::future::pending().await,
            _ => Err(std::io::Error::other("told to"))?,
        }
        Ok(())
    }));
    for (order, status) in [("error", 503), ("panic", 500), ("slow", 503), ("error", 503)] {
        assert_eq!(failing.push(&Pushed::order(order)).await, status, "{order}");
    }
    assert!(world.documents("receipts").await.is_empty());
    assert_eq!(world.published.len(), 0);
}
