//! The publisher on the Pub/Sub emulator.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future::join_all;
use pushbox::wire::attribute;
use pushbox::{
    Message, Timing,
    publisher::{PubSub, PublishError, Publisher},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{emulator, fresh_project, silent_listener, unused_address};

/// A project in the emulator, with a publisher.
struct Project {
    host: String,
    name: String,
    publisher: PubSub,
}

impl Project {
    fn fresh(names_prefix: &str) -> Self {
        let (host, name) = (emulator("PUBSUB_EMULATOR_HOST"), fresh_project());
        let publisher = PubSub::new(&name, names_prefix, Some(&host));
        Self { host, name, publisher }
    }

    async fn rest(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("http://{}/v1/projects/{}/{path}", self.host, self.name);
        let answer = reqwest::Client::new().request(method, url).json(&body).send().await.expect("an answer");
        answer.error_for_status().expect("success").json().await.expect("JSON")
    }

    /// Creates a topic and a subscription with the same name.
    async fn create_topic(&self, topic: &str) {
        self.rest(Method::PUT, &format!("topics/{topic}"), json!({})).await;
        let body = json!({ "topic": format!("projects/{}/topics/{topic}", self.name) });
        self.rest(Method::PUT, &format!("subscriptions/{topic}"), body).await;
    }

    /// Pulls until it has `n` messages.
    async fn pull(&self, topic: &str, n: usize) -> Vec<Value> {
        let mut messages = Vec::new();
        while messages.len() < n {
            let answer = self
                .rest(Method::POST, &format!("subscriptions/{topic}:pull"), json!({ "maxMessages": 100 }))
                .await;
            let received = answer["receivedMessages"].as_array().cloned().unwrap_or_default();
            messages.extend(received.into_iter().map(|received| received["message"].clone()));
        }
        assert_eq!(messages.len(), n, "{messages:?}");
        messages
    }
}

fn message(topic: &str, data: &str) -> Message {
    let attributes = [
        ("ce-id", "1".to_owned()),
        ("ce-type", "order.placed".to_owned()),
        ("empty", String::new()),
        ("unicode", "Zoë 日本".to_owned()),
        (attribute::DEAD_LETTER_REASON, "x".repeat(1024)),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).into();
    Message { topic: topic.to_owned(), attributes, data: data.to_owned().into() }
}

#[tokio::test]
async fn a_message_arrives_unchanged() {
    for prefix in ["", "staging-"] {
        let project = Project::fresh(prefix);
        let topic = format!("{prefix}order-events");
        project.create_topic(&topic).await;
        for data in [r#"{"order":"a"}"#, "", "\u{0} not JSON \u{ff}"] {
            let sent = message("order-events", data);
            let id = project.publisher.publish(sent.clone()).await.expect("an id");
            let got = project.pull(&topic, 1).await.remove(0);
            assert_eq!(got["messageId"], id);
            let attributes: BTreeMap<String, String> =
                serde_json::from_value(got["attributes"].clone()).expect("attributes");
            assert_eq!(attributes, sent.attributes);
            let received = STANDARD.decode(got["data"].as_str().unwrap_or_default()).expect("base64");
            assert_eq!(received, sent.data);
        }
    }
}

#[tokio::test]
async fn one_hundred_concurrent_messages_all_arrive() {
    let project = Project::fresh("");
    project.create_topic("order-events").await;
    let sent = join_all((0..100).map(|n| project.publisher.publish(message("order-events", &n.to_string()))));
    let ids: std::collections::BTreeSet<String> =
        sent.await.into_iter().map(|id| id.expect("an id")).collect();
    assert_eq!(ids.len(), 100);
    project.pull("order-events", 100).await;
}

#[tokio::test]
async fn a_message_of_9_9_mb_arrives() {
    let project = Project::fresh("");
    project.create_topic("order-events").await;
    let data = "x".repeat(9_900_000);
    project.publisher.publish(message("order-events", &data)).await.expect("an id");
    let got = project.pull("order-events", 1).await.remove(0);
    assert_eq!(got["data"].as_str().map(str::len), Some(13_200_000));
}

#[tokio::test]
async fn publishing_fails_until_the_topic_exists() {
    let project = Project::fresh("");
    let began = Instant::now();
    for _ in 0..2 {
        let failed = project.publisher.publish(message("order-events", "")).await;
        let Err(PublishError { topic, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(topic, "order-events");
    }
    assert!(began.elapsed() < Timing::DEFAULT.publish, "waiting does not create the topic");
    project.create_topic("order-events").await;
    project.publisher.publish(message("order-events", "")).await.expect("an id");
}

#[tokio::test]
async fn publishing_fails_in_time_without_a_server() {
    let (_listener, silent) = silent_listener();
    let failures = [unused_address(), silent].map(|address| async move {
        let began = Instant::now();
        let publisher = PubSub::new("p", "", Some(&address));
        assert!(publisher.publish(message("order-events", "")).await.is_err());
        assert!(began.elapsed() < Timing::DEFAULT.publish + Duration::from_secs(1), "{:?}", began.elapsed());
    });
    join_all(failures).await;
}
