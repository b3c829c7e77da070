//! One trace id finds all log lines of a request. No line contains personal data.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    emulators::Message,
    world::{CONSUMERS, World},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn one_trace_links_all_services_and_no_line_has_personal_data() {
    let world = World::plan("logs").variable("LOG", "info,pushbox=debug").start().await;

    let ann = json!({ "email": "secretive@example.com", "name": "Secretive Person" });
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = world.post("user-service", "/users").header("traceparent", traceparent).json(&ann);
    assert_eq!(request.send().await.expect("an answer").status(), StatusCode::CREATED);
    for service in CONSUMERS {
        world.delivered(service, "handled", 1).await;
    }
    cause_errors_with_personal_data(&world, &ann).await;

    let trace = format!("projects/{}/traces/{TRACE}", world.pubsub.project);
    for service in ["user-service"].into_iter().chain(CONSUMERS) {
        let log = world.log(service);
        for line in log.lines() {
            assert!(!line.to_lowercase().contains("secretive"), "{service}: {line}");
        }
        let lines =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")));
        let traced = lines.filter(|line: &Value| line["logging.googleapis.com/trace"] == *trace);
        // Libraries log with the same trace.
        let traced: Vec<Value> = traced.filter(|line| line["target"] == "pushbox::http").collect();
        assert_eq!(traced.len(), 1, "{service}: {traced:?}");
        let line = &traced[0];
        assert_eq!(line["severity"], "INFO", "{line}");
        assert_eq!(line["service"], service, "{line}");
        assert_eq!(line["logging.googleapis.com/spanId"].as_str().map(str::len), Some(16), "{line}");
        assert_eq!(line["logging.googleapis.com/trace_sampled"], true, "{line}");
        assert!(line["milliseconds"].is_u64(), "{line}");
        if service == "user-service" {
            assert_eq!(line["message"], "request", "{line}");
            assert_eq!(
                (&line["method"], &line["route"], &line["status"]),
                (&"POST".into(), &"/users".into(), &201.into())
            );
            continue;
        }
        assert_eq!(line["message"], "delivery: handled", "{line}");
        assert_eq!(
            (&line["outcome"], &line["eventType"]),
            (&"handled".into(), &"user.created".into()),
            "{line}"
        );
        assert!(line["key"].as_str().is_some_and(|key| key.starts_with("//pushbox/user-service ")), "{line}");
        assert!(line["messageId"].is_string() && line["subscription"].is_string(), "{line}");
        let labels = json!({ "service": service, "outcome": "handled", "eventType": "user.created" });
        assert_eq!(line["logging.googleapis.com/labels"], labels, "{line}");
    }
}

/// The log lines of these errors must not quote the input.
async fn cause_errors_with_personal_data(world: &World, ann: &Value) {
    let users = [
        (ann.to_string(), StatusCode::CONFLICT),
        (json!({ "email": "secretive", "name": "" }).to_string(), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({ "email": ["secretive@example.com"] }).to_string(), StatusCode::UNPROCESSABLE_ENTITY),
        ("secretive@example.com".to_owned(), StatusCode::BAD_REQUEST),
    ];
    for (body, status) in users {
        let request = world.post("user-service", "/users").header("content-type", "application/json");
        assert_eq!(request.body(body).send().await.expect("an answer").status(), status);
    }
    for (service, path) in [
        ("user-service", "/users/secretive@example.com"),
        ("crm-service", "/contacts/secretive"),
        ("crm-service", "/contacts?cursor=secretive@example.com"),
        ("email-service", "/emails?userId=secretive@example.com"),
    ] {
        // Only the log lines matter here.
        let _ = world.get(service, path).await;
    }
    let events = [
        "secretive@example.com".to_owned(),
        json!(["secretive"]).to_string(),
        json!({ "event": { "secretive": 1 } }).to_string(),
        json!({ "event": "user.created", "userId": "secretive@example.com", "email": "e@example.com", "name": "N" })
            .to_string(),
        json!({ "event": "user.created", "userId": "u", "email": "secretive", "name": "N" }).to_string(),
        json!({ "event": "user.created", "userId": "u", "email": "e@example.com", "name": { "secretive": 1 } })
            .to_string(),
    ];
    for event in &events {
        world.pubsub.publish(&Message::new(event)).await;
    }
    for service in CONSUMERS {
        world.delivered(service, "reject", events.len()).await;
    }
}
