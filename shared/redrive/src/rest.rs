//! [Pub/Sub's REST API](https://cloud.google.com/pubsub/docs/reference/rest). The cloud, Google's emulator and the local
//! stack all have it; the local stack has no gRPC.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use pushbox::{
    Message,
    publisher::{PublishError, Publisher},
};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{CallError, Names, NoClient, Pulled, Subscriber, api::Api};

/// The permission of the access token.
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";

/// The most ack ids of one call. A request has at most 512 KB.
const ACK_IDS: usize = 500;

/// Pub/Sub's REST API.
pub struct Rest {
    /// Ends with `/projects/<project>`.
    base: String,
    names_prefix: String,
    api: Api,
}

impl Rest {
    /// Pub/Sub in the cloud, with the
    /// [credentials of the application](https://cloud.google.com/docs/authentication/application-default-credentials).
    ///
    /// # Errors
    /// If there are no credentials.
    pub fn cloud(names: &Names) -> Result<Self, NoClient> {
        Ok(Self::with(Api::cloud("Pub/Sub", SCOPE)?, "https://pubsub.googleapis.com", names))
    }

    /// The local stack or the emulator at `url`, such as `http://localhost:8080`. They need no credentials.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn local(url: &str, names: &Names) -> Result<Self, NoClient> {
        Ok(Self::with(Api::local("Pub/Sub")?, url, names))
    }

    fn with(api: Api, url: &str, names: &Names) -> Self {
        let base = format!("{}/v1/projects/{}", url.trim_end_matches('/'), names.project);
        Self { base, names_prefix: names.prefix.clone(), api }
    }

    async fn call(&self, collection: &str, name: &str, verb: &str, body: &Value) -> Result<Value, CallError> {
        let call = format!("{collection}/{}{name}:{verb}", self.names_prefix);
        let request = self.api.client.post(format!("{}/{call}", self.base)).json(body);
        self.api.send(request).await.map_err(|(status, reason)| CallError {
            // Without an answer, it does not matter which call it was.
            reason: if status.is_some() { format!("{call} failed: {reason}") } else { reason },
            is_missing: status == Some(StatusCode::NOT_FOUND),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullAnswer {
    #[serde(default)]
    received_messages: Vec<Received>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    ack_id: String,
    message: ReceivedMessage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedMessage {
    message_id: String,
    publish_time: Timestamp,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    data: String,
}

#[async_trait]
impl Subscriber for Rest {
    async fn pull(&self, subscription: &str, most: usize) -> Result<Vec<Pulled>, CallError> {
        let body = json!({ "maxMessages": most, "returnImmediately": true });
        let answer = self.call("subscriptions", subscription, "pull", &body).await?;
        let unreadable = || CallError {
            reason: format!("the answer to subscriptions/{subscription}:pull is not one of Pub/Sub"),
            is_missing: false,
        };
        let answer: PullAnswer = serde_json::from_value(answer).map_err(|_| unreadable())?;
        let pulled = answer.received_messages.into_iter().map(|Received { ack_id, message }| {
            let data = STANDARD.decode(message.data).map_err(|_| unreadable())?;
            Ok(Pulled {
                ack_id,
                message_id: message.message_id,
                attributes: message.attributes,
                data: data.into(),
                publish_time: message.publish_time,
            })
        });
        pulled.collect()
    }

    async fn lease(&self, subscription: &str, ack_ids: &[String], time: Duration) -> Result<(), CallError> {
        for ack_ids in ack_ids.chunks(ACK_IDS) {
            let body = json!({ "ackIds": ack_ids, "ackDeadlineSeconds": time.as_secs() });
            self.call("subscriptions", subscription, "modifyAckDeadline", &body).await?;
        }
        Ok(())
    }

    async fn acknowledge(&self, subscription: &str, ack_ids: &[String]) -> Result<(), CallError> {
        for ack_ids in ack_ids.chunks(ACK_IDS) {
            self.call("subscriptions", subscription, "acknowledge", &json!({ "ackIds": ack_ids })).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Publisher for Rest {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let Message { topic, attributes, data } = message;
        let body = json!({ "messages": [{ "data": STANDARD.encode(data), "attributes": attributes }] });
        let answer = self.call("topics", &topic, "publish", &body).await;
        let id = answer.map_err(|error| error.to_string()).and_then(|answer| {
            let id = answer["messageIds"][0].as_str().map(str::to_owned);
            id.ok_or_else(|| "the answer has no message id".to_owned())
        });
        id.map_err(|reason| PublishError { topic, reason })
    }
}
