//! Google's emulators, through their REST APIs.

use std::{collections::BTreeMap, env};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A variable that `scripts/emulators -- …` sets.
pub(crate) fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set; run: scripts/emulators -- cargo test --workspace --test e2e")
    })
}

/// A project on a Pub/Sub emulator.
pub(crate) struct PubSub {
    pub(crate) host: String,
    pub(crate) project: String,
    pub(crate) http: Client,
}

/// A message in the form of Pub/Sub's REST API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    /// In base64.
    #[serde(default)]
    pub(crate) data: String,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Message {
    pub(crate) fn new(data: impl AsRef<[u8]>) -> Self {
        Self { data: STANDARD.encode(data), attributes: BTreeMap::new() }
    }

    pub(crate) fn text(&self) -> String {
        let data = STANDARD.decode(&self.data).expect("the data is base64");
        String::from_utf8(data).expect("the data is text")
    }

    /// The envelope of a push.
    pub(crate) fn envelope(&self, message_id: &str) -> Value {
        json!({
            "message": { "data": self.data, "attributes": self.attributes, "messageId": message_id },
            "subscription": "projects/local/subscriptions/by-hand",
        })
    }
}

impl PubSub {
    /// Publishes to `user-events` and returns the message id.
    pub(crate) async fn publish(&self, message: &Message) -> String {
        self.publish_to("user-events", message).await
    }

    pub(crate) async fn publish_to(&self, topic: &str, message: &Message) -> String {
        let answer = self.post(&format!("topics/{topic}:publish"), &json!({ "messages": [message] })).await;
        answer["messageIds"][0].as_str().expect("a message id").to_owned()
    }

    /// Keeps the messages that are published to `user-events` from now on.
    pub(crate) async fn keep_events(&self) {
        let topic = format!("projects/{}/topics/user-events", self.project);
        let request = self.http.put(self.at("subscriptions/kept-events")).json(&json!({ "topic": topic }));
        let answer = request.send().await.expect("the Pub/Sub emulator answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    pub(crate) async fn kept_events(&self) -> Vec<Message> {
        self.pull("kept-events").await
    }

    /// The dead letters of a service since the last call.
    pub(crate) async fn dead_letters(&self, service: &str) -> Vec<Message> {
        self.pull(&format!("{service}-dead-letter")).await
    }

    async fn pull(&self, subscription: &str) -> Vec<Message> {
        let request = json!({ "maxMessages": 100, "returnImmediately": true });
        let answer = self.post(&format!("subscriptions/{subscription}:pull"), &request).await;
        let received = answer["receivedMessages"].as_array().cloned().unwrap_or_default();
        if !received.is_empty() {
            let ids: Vec<&Value> = received.iter().map(|received| &received["ackId"]).collect();
            self.post(&format!("subscriptions/{subscription}:acknowledge"), &json!({ "ackIds": ids })).await;
        }
        let message = |received: Value| serde_json::from_value(received["message"].clone());
        received.into_iter().map(|received| message(received).expect("a message")).collect()
    }

    /// The push endpoint of a service's subscription. Fails if the subscription does not exist.
    pub(crate) async fn push_endpoint(&self, service: &str, topic: &str) -> Result<String, String> {
        let request = self.http.get(self.at(&format!("subscriptions/{service}-{topic}")));
        let answer = request.send().await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("no subscription: {}", answer.status()));
        }
        let subscription: Value = answer.json().await.map_err(|error| error.to_string())?;
        Ok(subscription["pushConfig"]["pushEndpoint"].as_str().unwrap_or_default().to_owned())
    }

    async fn post(&self, call: &str, body: &Value) -> Value {
        let request = self.http.post(self.at(call)).json(body);
        let answer = request.send().await.expect("the Pub/Sub emulator answers");
        let (status, text) = (answer.status(), answer.text().await.expect("an answer"));
        assert!(status.is_success(), "{call}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}/v1/projects/{}/{path}", self.host, self.project)
    }
}

/// A project on the Firestore emulator.
pub(crate) struct Firestore {
    pub(crate) host: String,
    pub(crate) project: String,
    pub(crate) http: Client,
}

impl Firestore {
    /// All documents of `services/<collection>`, as plain JSON.
    pub(crate) async fn documents(&self, collection: &str) -> Vec<Value> {
        let Self { host, project, http } = self;
        let url = format!(
            "http://{host}/v1/projects/{project}/databases/(default)/documents/services/{collection}"
        );
        let mut objects = Vec::new();
        let mut token = String::new();
        loop {
            let request =
                http.get(&url).query(&[("pageSize", "300"), ("pageToken", &token)]).bearer_auth("owner");
            let answer = request.send().await.expect("the Firestore emulator answers");
            let page: Value = answer.json().await.expect("JSON");
            let documents = page["documents"].as_array().into_iter().flatten();
            objects.extend(documents.map(|document| object(&document["fields"])));
            match page["nextPageToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => return objects,
            }
        }
    }
}

/// Converts Firestore's JSON, which names the type of each value, to plain JSON.
fn plain(value: &Value) -> Value {
    let typed = value.as_object().and_then(|value| value.iter().next());
    match typed.map(|(name, value)| (name.as_str(), value)) {
        Some(("mapValue", map)) => object(&map["fields"]),
        Some(("arrayValue", array)) => array["values"].as_array().into_iter().flatten().map(plain).collect(),
        Some(("integerValue", text)) => text.as_str().and_then(|text| text.parse::<i64>().ok()).into(),
        Some((_, value)) => value.clone(),
        None => Value::Null,
    }
}

fn object(fields: &Value) -> Value {
    let fields = fields.as_object().into_iter().flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), plain(value))).collect())
}
