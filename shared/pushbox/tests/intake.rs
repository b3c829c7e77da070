//! The forms in which a message can arrive, and the outcome of each.

use std::io;

use axum::{
    body::Body,
    http::{Method, Request},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, stream};
use pushbox::wire::attribute;
use pushbox::{Context, Service};
use serde_json::{Value, json};

use crate::suite::{Placed, Pushed, Refusal, Running, Shipped, World, count, push_request, request, service};

/// Records the quantity of each order.
fn recording() -> Service {
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

/// The expected outcome of a push.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// The order is recorded, with a receipt for this key.
    Handled(&'static str),
    Ignored,
    /// The message becomes a dead letter with this reason.
    Rejected(&'static str),
    /// The answer has this status.
    Refused(u16),
    /// The answer is 400 and contains this text.
    Unreadable(&'static str),
}

async fn check(case: &str, push: Request<Body>, expected: Outcome) {
    let world = World::new();
    let answer = world.run(recording()).send(push).await;
    let receipts = world.documents("receipts").await;
    let found = match (answer.status, receipts.first(), world.published.messages().first()) {
        (204, Some(_), None) => {
            assert_eq!(world.counts().await.get("a"), Some(&2), "{case}");
            let Outcome::Handled(key) = &expected else { panic!("{case}: the message was handled") };
            assert_eq!(receipts[0]["key"], *key, "{case}");
            return;
        }
        (204, None, None) => Outcome::Ignored,
        (204, None, Some(letter)) => {
            assert_eq!(letter.topic, "test-service-dead-letter", "{case}");
            let Outcome::Rejected(reason) = &expected else { panic!("{case}: the message was rejected") };
            assert_eq!(letter.attributes[attribute::DEAD_LETTER_REASON], *reason, "{case}");
            return;
        }
        (status, None, None) => {
            answer.assert_problem(status);
            if let (400, Outcome::Unreadable(reason)) = (status, &expected) {
                assert!(answer.text.contains(reason), "{case}: {answer:?}");
                return;
            }
            Outcome::Refused(status)
        }
        other => panic!("{case}: {other:?}"),
    };
    assert_eq!(found, expected, "{case}");
}

#[tokio::test]
async fn wrapped_pushes_lead_to_the_expected_outcome() {
    let subscription = "projects/p/subscriptions/s";
    let ce = json!({ "ce-id": "7", "ce-source": "//other", "ce-type": "order.placed" });
    let plain = r#"{"order":"a","quantity":2}"#;
    let cases = [
        (
            "published by hand, without attributes",
            json!({ "data": base64(ORDER), "messageId": "1" }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "the message id in snake case",
            json!({ "data": base64(ORDER), "message_id": "1" }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "members in camel case and in snake case",
            json!({ "data": base64(ORDER), "messageId": "1", "message_id": "1", "publishTime": "2026-11-20T11:59:00Z", "publish_time": "2026-11-20T11:59:00Z" }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "unknown members",
            json!({ "data": base64(ORDER), "messageId": "1", "orderingKey": "k", "new": [1] }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "empty attributes",
            json!({ "data": base64(ORDER), "messageId": "1", "attributes": {} }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "null attributes",
            json!({ "data": base64(ORDER), "messageId": "1", "attributes": null }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "a CloudEvent",
            json!({ "data": base64(plain), "messageId": "1", "attributes": ce }),
            Outcome::Handled("//other 7"),
        ),
        (
            "a structured CloudEvent",
            json!({ "data": base64(STRUCTURED), "messageId": "1", "attributes": { "content-type": "application/cloudevents+json; charset=utf-8" } }),
            Outcome::Handled("//other 7"),
        ),
        (
            "a structured CloudEvent, its media type with capitals",
            json!({ "data": base64(STRUCTURED), "messageId": "1", "attributes": { "Content-Type": "Application/CloudEvents+JSON" } }),
            Outcome::Handled("//other 7"),
        ),
        (
            "a structured CloudEvent without attributes",
            json!({ "data": base64(STRUCTURED), "messageId": "1" }),
            Outcome::Handled("//other 7"),
        ),
        (
            "data with a field named like a CloudEvents attribute",
            json!({ "data": base64(&ORDER.replace('{', r#"{"specversion":2,"#)), "messageId": "1" }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "a CloudEvent without a source",
            json!({ "data": base64(plain), "messageId": "1", "attributes": { "ce-id": "7", "ce-type": "order.placed" } }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "an unknown type",
            json!({ "data": base64("not even JSON"), "messageId": "1", "attributes": { "ce-type": "other" } }),
            Outcome::Ignored,
        ),
        (
            "an unknown type in the data",
            json!({ "data": base64(r#"{"event":"other"}"#), "messageId": "1" }),
            Outcome::Ignored,
        ),
        (
            "neither data nor attributes",
            json!({ "messageId": "1" }),
            Outcome::Rejected("neither the attribute ce-type nor the field `event` says what this is"),
        ),
        (
            "no data for a known type",
            json!({ "messageId": "1", "attributes": ce }),
            Outcome::Rejected("the data is not `order.placed`: EOF while parsing a value"),
        ),
        (
            "not base64",
            json!({ "data": "%%%", "messageId": "1" }),
            Outcome::Rejected("the data is not base64"),
        ),
        (
            "not JSON",
            json!({ "data": base64("nonsense"), "messageId": "1" }),
            Outcome::Rejected("the data is not a JSON object with a text field `event`"),
        ),
        (
            "a list",
            json!({ "data": base64(r#"["order.placed"]"#), "messageId": "1" }),
            Outcome::Rejected("the data is not a JSON object with a text field `event`"),
        ),
        (
            "a type that is not text",
            json!({ "data": base64(r#"{"event":5}"#), "messageId": "1" }),
            Outcome::Rejected("the data is not a JSON object with a text field `event`"),
        ),
        (
            "a missing field",
            json!({ "data": base64(r#"{"event":"order.placed"}"#), "messageId": "1" }),
            Outcome::Rejected("the data is not `order.placed`: missing field `order`"),
        ),
        (
            "a wrong type",
            json!({ "data": base64(r#"{"event":"order.placed","order":"a","quantity":"secret"}"#), "messageId": "1" }),
            Outcome::Rejected("the data is not `order.placed`: invalid type, expected u32 at /quantity"),
        ),
        (
            "a list as the event",
            json!({ "data": base64(r#"["a",2]"#), "messageId": "1", "attributes": ce }),
            Outcome::Rejected("the data is not `order.placed`: not an object"),
        ),
        (
            "not a structured CloudEvent",
            json!({ "data": base64("{}"), "messageId": "1", "attributes": { "content-type": "application/cloudevents+json" } }),
            Outcome::Rejected("the data is not a structured CloudEvent"),
        ),
        (
            "not a structured CloudEvent, its media type with capitals",
            json!({ "data": base64(ORDER), "messageId": "1", "attributes": { "Content-Type": "Application/CloudEvents+JSON" } }),
            Outcome::Rejected("the data is not a structured CloudEvent"),
        ),
        ("no message id", json!({ "data": base64(ORDER) }), Outcome::Refused(400)),
        (
            "attributes in a list",
            json!({ "data": base64(ORDER), "messageId": "1", "attributes": ["a"] }),
            Outcome::Refused(400),
        ),
    ];
    for (case, message, expected) in cases {
        check(case, push_request(&json!({ "subscription": subscription, "message": message })), expected)
            .await;
    }
    let array =
        json!({ "subscription": subscription, "message": [base64(ORDER), {}, "1", null, null, null] });
    for (case, body) in [
        ("no message", json!({ "data": "e30=" })),
        ("a list", json!([])),
        ("null", Value::Null),
        ("a list as the message", array),
    ] {
        check(case, push_request(&body), Outcome::Refused(400)).await;
    }
    let without_metadata = push_request(&serde_json::from_str(ORDER).expect("JSON"));
    check("unwrapped without metadata", without_metadata, Outcome::Unreadable("writeMetadata")).await;
    check(
        "a body that is not JSON",
        request(axum::http::Method::POST, "/", &[], "nonsense"),
        Outcome::Refused(400),
    )
    .await;
}

#[tokio::test]
async fn pushes_with_attributes_in_headers_lead_to_the_expected_outcome() {
    let unwrapped = [
        ("x-goog-pubsub-message-id", "1"),
        ("x-goog-pubsub-subscription-name", "projects/p/subscriptions/s"),
    ];
    let binary =
        [("ce-id", "7"), ("ce-source", "//other"), ("ce-type", "order.placed"), ("ce-specversion", "1.0")];
    let structured = [("content-type", "application/cloudevents+json")];
    let capitals = [("content-type", "Application/CloudEvents+JSON; Charset=UTF-8")];
    let both = [&unwrapped[..], &binary[..]].concat();
    let other_version = STRUCTURED.replace("1.0", "0.3");
    let sourceless = STRUCTURED.replace(r#""source":"//other","#, "");
    let broken = STRUCTURED.replace(r#""data":{"order":"a","quantity":2}"#, r#""data_base64":"%%%""#);
    let encoded = STRUCTURED
        .replace(r#""data":{"order":"a","quantity":2}"#, &format!(r#""data_base64":"{}""#, base64(ORDER)));
    for (case, headers, body, expected) in [
        (
            "unwrapped, published by hand",
            &unwrapped[..],
            ORDER,
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        ("unwrapped", &both, ORDER, Outcome::Handled("//other 7")),
        (
            "unwrapped and empty",
            &unwrapped,
            "",
            Outcome::Rejected("neither the attribute ce-type nor the field `event` says what this is"),
        ),
        ("binary mode", &binary, ORDER, Outcome::Handled("//other 7")),
        ("structured mode", &structured, STRUCTURED, Outcome::Handled("//other 7")),
        ("structured mode, data in base64", &structured, &encoded, Outcome::Handled("//other 7")),
        (
            "structured mode, its media type with capitals",
            &capitals,
            STRUCTURED,
            Outcome::Handled("//other 7"),
        ),
        (
            "structured mode, invalid base64",
            &structured,
            &broken,
            Outcome::Rejected("data_base64 is not base64"),
        ),
        ("structured mode, a list", &structured, "[]", Outcome::Unreadable("not a structured CloudEvent")),
        ("structured mode, an empty object", &structured, "{}", Outcome::Unreadable("no specversion")),
        (
            "structured mode, another version",
            &structured,
            &other_version,
            Outcome::Unreadable("another specversion"),
        ),
        ("structured mode, without a source", &structured, &sourceless, Outcome::Unreadable("no source")),
        (
            "binary mode, another version",
            &[&binary[..3], &[("ce-specversion", "0.3")]].concat(),
            ORDER,
            Outcome::Unreadable("another specversion"),
        ),
        ("binary mode, without a version", &binary[..3], ORDER, Outcome::Unreadable("no specversion")),
        ("binary mode, without an id", &binary[1..], ORDER, Outcome::Unreadable("no id")),
        (
            "binary mode, without a source",
            &[&binary[..1], &binary[2..]].concat(),
            ORDER,
            Outcome::Unreadable("no source"),
        ),
        (
            "binary mode, without a type",
            &[&binary[..2], &binary[3..]].concat(),
            ORDER,
            Outcome::Unreadable("no type"),
        ),
        (
            "binary mode, with an empty source",
            &[&binary[..], &[("ce-source", "")]].concat(),
            ORDER,
            Outcome::Unreadable("no source"),
        ),
        ("data without metadata", &[], ORDER, Outcome::Refused(400)),
    ] {
        check(case, request(axum::http::Method::POST, "/", headers, body.to_owned()), expected).await;
    }
}

/// The data of the Eventarc event is the body of a Pub/Sub push.
#[tokio::test]
async fn an_eventarc_delivery_is_decoded_as_the_push_inside_it() {
    let published = "google.cloud.pubsub.topic.v1.messagePublished";
    let binary = [
        ("ce-id", "outer"),
        ("ce-source", "//pubsub.googleapis.com/projects/p/topics/t"),
        ("ce-type", published),
        ("ce-specversion", "1.0"),
        ("content-type", "application/json"),
    ];
    let structured = [("content-type", "application/cloudevents+json")];
    let ce = json!({ "ce-id": "7", "ce-source": "//other", "ce-type": "order.placed" });
    for (case, data, expected) in [
        (
            "published by hand",
            json!({ "message": { "data": base64(ORDER), "messageId": "1" }, "subscription": "projects/p/subscriptions/s" }),
            Outcome::Handled("projects/p/subscriptions/s 1"),
        ),
        (
            "a CloudEvent inside",
            json!({ "message": { "data": base64(ORDER), "messageId": "1", "attributes": ce }, "subscription": "s" }),
            Outcome::Handled("//other 7"),
        ),
        (
            "a structured CloudEvent inside",
            json!({ "message": { "data": base64(STRUCTURED), "messageId": "1" }, "subscription": "s" }),
            Outcome::Handled("//other 7"),
        ),
        ("no message inside", json!({ "subscription": "s" }), Outcome::Refused(400)),
    ] {
        let event = json!({ "specversion": "1.0", "id": "outer", "source": "//pubsub", "type": published, "data": data });
        let forms = [
            request(Method::POST, "/", &binary, data.to_string()),
            request(Method::POST, "/", &structured, event.to_string()),
        ];
        for form in forms {
            check(case, form, expected).await;
        }
    }
}

#[tokio::test]
async fn an_event_has_the_same_key_in_structured_and_binary_mode() {
    let event = json!({
        "specversion": "1.0", "id": "a b", "source": "//other/100% \"€\"", "type": "order.placed",
        "data": { "order": "a", "quantity": 2 },
    });
    let key = "//other/100% \"€\" a b";
    let structured =
        request(Method::POST, "/", &[("content-type", "application/cloudevents+json")], event.to_string());
    check("structured", structured, Outcome::Handled(key)).await;
    for (id, source) in [
        ("a%20b", "//other/100%25%20%22%E2%82%AC%22"),
        ("a b", "//other/100%25%20%22%e2%82%ac%22"),
        ("\"a b\"", r#""//other/100%25 \"%E2%82%AC\"""#),
    ] {
        let headers =
            [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", source), ("ce-type", "order.placed")];
        check(source, request(Method::POST, "/", &headers, ORDER), Outcome::Handled(key)).await;
    }
    // Pub/Sub writes attributes into headers without percent-encoding.
    let headers = [
        ("x-goog-pubsub-message-id", "1"),
        ("ce-id", "7"),
        ("ce-source", "//100%25"),
        ("ce-type", "order.placed"),
    ];
    check("unwrapped", request(Method::POST, "/", &headers, ORDER), Outcome::Handled("//100%25 7")).await;
}

#[tokio::test]
async fn a_structured_event_becomes_a_dead_letter_in_binary_mode() {
    let world = World::new();
    let running = world.run(recording());
    let structured = STRUCTURED.replace(r#""quantity":2"#, r#""quantity":-2"#);
    let message = json!({ "data": base64(&structured), "messageId": "1" });
    let push = push_request(&json!({ "subscription": "s", "message": message }));
    assert_eq!(running.send(push).await.status, 204);
    let letter = world.published.only();
    assert_eq!(letter.attributes["content-type"], "application/json");
    assert_eq!(letter.attributes["ce-type"], "order.placed");
    assert_eq!(letter.data, r#"{"order":"a","quantity":-2}"#);
}

#[tokio::test]
async fn a_dead_letter_holds_the_message_and_the_reason() {
    let world = World::new();
    let mut pushed = Pushed::order("a").with("mine", "kept");
    pushed.data = br#"{"order":"secret@example.com","quantity":"secret"}"#.to_vec();
    assert_eq!(world.run(recording()).push(&pushed).await, 204);
    let letter = world.published.only();
    assert_eq!(letter.data, pushed.data);
    assert!(pushed.attributes.iter().all(|(name, value)| letter.attributes.get(name) == Some(value)));
    assert_eq!(letter.attributes[attribute::DEAD_LETTER_SERVICE], "test-service");
    assert_eq!(letter.attributes[attribute::DEAD_LETTER_MESSAGE_ID], pushed.message_id);
    assert_eq!(
        letter.attributes[attribute::DEAD_LETTER_SUBSCRIPTION],
        "projects/p/subscriptions/test-service-order-events"
    );
    assert!(!letter.attributes[attribute::DEAD_LETTER_REASON].contains("secret"));
}

#[tokio::test]
async fn a_push_fails_if_its_dead_letter_cannot_be_published() {
    let world = World::new();
    world.published.next(&[Refusal::Fails]);
    let pushed = Pushed { data: b"nonsense".to_vec(), ..Pushed::order("a") };
    let running = world.run(recording());
    assert_eq!(running.push(&pushed).await, 503);
    assert_eq!(running.push(&pushed).await, 204);
    assert_eq!(world.published.len(), 1);
}

#[tokio::test]
async fn accepts_a_message_of_10_mib_and_refuses_one_of_14_mib() {
    let world = World::new();
    let running = world.run(recording());
    let order = |filler: usize| {
        let data = format!(r#"{{"order":"a","quantity":2,"filler":"{}"}}"#, "x".repeat(filler));
        Pushed { data: data.into_bytes(), ..Pushed::order("a") }
    };
    assert_eq!(running.push(&order(10 << 20)).await, 204);
    assert_eq!(world.counts().await.get("a"), Some(&2));
    running.send(order(14 << 20).request()).await.assert_problem(413);
}

#[tokio::test]
async fn refuses_a_compressed_push() {
    for (encoding, status) in [("gzip", 415), ("br", 415), ("Identity", 204)] {
        let mut push = Pushed::order("a").request();
        push.headers_mut().insert("content-encoding", encoding.parse().expect("a header"));
        assert_eq!(World::new().run(recording()).send(push).await.status, status, "{encoding}");
    }
}

/// Above the limit a push gets 503, so its message waits at Pub/Sub.
#[tokio::test]
async fn pushes_in_flight_hold_at_most_64_mib() {
    let running = World::new().run(recording());
    let (reads, mut read) = tokio::sync::mpsc::unbounded_channel();
    let arriving: Vec<_> = (0..4)
        .map(|_| {
            let (running, reads) = (running.clone(), reads.clone());
            let never = stream::once(async move {
                reads.send(()).expect("a receiver");
                std::future::pending::<io::Result<&str>>().await
            });
            let push = request(Method::POST, "/", &[], Body::from_stream(never));
            tokio::spawn(async move { running.send(push).await })
        })
        .collect();
    for _ in &arriving {
        read.recv().await.expect("a body that is being read");
    }
    let refused = running.send(Pushed::order("a").request()).await;
    refused.assert_problem(503);
    assert!(refused.header("retry-after").is_some());
    // The body of a refused push is not read.
    let unread = stream::once(async { panic!("the body was read") }).map(|()| io::Result::Ok(""));
    running.send(request(Method::POST, "/", &[], Body::from_stream(unread))).await.assert_problem(503);
    for push in arriving {
        push.abort();
        let _ = push.await;
    }
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
}

#[tokio::test]
async fn a_push_holds_its_memory_until_its_answer() {
    let (runs, mut run) = tokio::sync::mpsc::unbounded_channel();
    let running = World::new().run(service().on(move |_: Placed, _: Context| {
        runs.send(()).expect("a receiver");
        std::future::pending()
    }));
    for n in 0..4 {
        // The length of the body is unknown, so the push reserves the maximum.
        let text = Pushed::order(&n.to_string()).envelope().to_string();
        let body = Body::from_stream(stream::once(async { io::Result::Ok(text) }));
        let running = running.clone();
        tokio::spawn(async move { running.send(request(Method::POST, "/", &[], body)).await });
    }
    for _ in 0..4 {
        run.recv().await.expect("a handler that runs");
    }
    running.send(Pushed::order("e").request()).await.assert_problem(503);
}

#[tokio::test]
async fn the_answer_names_the_outcome() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, _: Context| async move {
        match placed.order.as_str() {
            "panic" => panic!("injected"),
            "retry" => Err(io::Error::other("injected"))?,
            _ => Ok(()),
        }
    }));
    let garbage = Pushed { data: b"nonsense".to_vec(), ..Pushed::order("garbage") };
    for (message, status, outcome) in [
        (Pushed::order("a"), 204, Some("handled")),
        (Pushed::order("a").republished("2"), 204, Some("duplicate")),
        (Pushed::order("b").with("ce-type", "other"), 204, Some("ignored")),
        (Pushed::order("retry"), 503, Some("retry")),
        (Pushed::order("panic"), 500, Some("panic")),
        (garbage, 204, Some("reject")),
        (Pushed { message_id: String::new(), ..Pushed::order("c") }, 400, None),
    ] {
        let answer = running.send(message.request()).await;
        assert_eq!((answer.status, answer.header("pushbox-outcome")), (status, outcome), "{message:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{message:?}");
    }
}

#[tokio::test]
async fn a_published_event_continues_the_trace_of_the_message_or_else_of_the_request() {
    let [of_message, of_request] = ["4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"];
    let other = "1af7651916cd43dd8448eb211c80319c";
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
        (Pushed::order("a").with("traceparent", "nonsense"), of_request),
        (Pushed::order("a").with("googclient_traceparent", &traceparent(of_message)), of_message),
        (Pushed::order("a").with("ce-traceparent", &traceparent(of_message)), of_message),
        (
            Pushed::order("a")
                .with("ce-traceparent", &traceparent(other))
                .with("googclient_traceparent", &traceparent(of_message)),
            of_message,
        ),
        (
            Pushed::order("a")
                .with("googclient_traceparent", &traceparent(other))
                .with("traceparent", &traceparent(of_message)),
            of_message,
        ),
    ] {
        let world = World::new();
        let mut push = message.request();
        let header = traceparent(of_request).parse().expect("a header");
        push.headers_mut().insert("traceparent", header);
        assert_eq!(world.run(shipping()).send(push).await.status, 204);
        let published = &world.published.only().attributes["traceparent"];
        assert!(published.contains(expected) && published.ends_with("-01"), "{published}");
        assert!(!published.contains("00f067aa0ba902b7"), "the span is not new: {published}");
    }
}

/// [W3C Trace Context](https://www.w3.org/TR/trace-context/) requires this.
#[tokio::test]
async fn a_tracestate_is_passed_on_only_with_a_single_traceparent() {
    let shipping = || {
        service().publishes::<Shipped>().on(|placed: Placed, cx: Context| async move {
            cx.publish(&Shipped { order: placed.order });
            Ok(())
        })
    };
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = &*format!("00-{id}-00f067aa0ba902b7-01");
    let ce =
        [("ce-id", "7"), ("ce-source", "//other"), ("ce-type", "order.placed"), ("ce-specversion", "1.0")];
    for (headers, continues, state) in [
        (&[("traceparent", parent), ("tracestate", "a=1,b=2")][..], true, Some("a=1,b=2")),
        (&[("traceparent", parent), ("tracestate", "a=1"), ("tracestate", "b=2")], true, Some("a=1,b=2")),
        (&[("ce-traceparent", parent), ("ce-tracestate", "a=1,b=2")], true, Some("a=1,b=2")),
        (&[("traceparent", parent), ("traceparent", parent), ("tracestate", "a=1")], false, None),
        (&[("tracestate", "a=1")], false, None),
    ] {
        let world = World::new();
        let push = request(Method::POST, "/", &[&ce[..], headers].concat(), ORDER);
        assert_eq!(world.run(shipping()).send(push).await.status, 204);
        let attributes = world.published.only().attributes;
        assert_eq!(attributes["traceparent"].contains(id), continues, "{headers:?}");
        assert_eq!(attributes.get("tracestate").map(String::as_str), state, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_with_an_unreadable_body_gets_an_answer() {
    let running = World::new().run(recording());
    let never = stream::pending::<io::Result<&str>>();
    let breaks = stream::once(async { Err::<&str, _>(io::Error::other("injected")) });
    let panics = stream::once(async { panic!("injected") }).map(|()| io::Result::Ok(""));
    for (status, body) in
        [(408, Body::from_stream(never)), (400, Body::from_stream(breaks)), (500, Body::from_stream(panics))]
    {
        running.send(request(Method::POST, "/", &[], body)).await.assert_problem(status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_handler_causes_a_redelivery_and_commits_nothing() {
    let world = World::new();
    let failing: Running = world.run(service().on(|placed: Placed, _: Context| async move {
        match placed.order.as_str() {
            "panic" => panic!("injected"),
            "slow" => std::future::pending().await,
            _ => Err(std::io::Error::other("injected"))?,
        }
        Ok(())
    }));
    for (order, status) in [("error", 503), ("panic", 500), ("slow", 503), ("error", 503)] {
        assert_eq!(failing.push(&Pushed::order(order)).await, status, "{order}");
    }
    assert!(world.documents("receipts").await.is_empty());
    assert_eq!(world.published.len(), 0);
}
