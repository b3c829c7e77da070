//! [Google's Pub/Sub emulator](https://cloud.google.com/pubsub/docs/emulator) in place of the
//! broker. Its topics and subscriptions are created from the catalog, through its REST API.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, RawQuery, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::any,
};
use catalog::{Catalog, Subscription};
use futures::future::try_join_all;
use pushbox::Timing;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    broker::Published,
    pushes::PushedMessage,
    rest::{ApiError, LARGEST_BODY},
};

/// How many dead letters of a service are read.
const MOST_DEAD_LETTERS: usize = 1000;

/// A project on a running emulator.
#[derive(Clone)]
pub struct Emulator {
    host: String,
    project: String,
    client: Client,
    turn: Arc<Mutex<()>>,
}

/// The emulator could not be provisioned.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It did not answer.
    #[error("no answer from the Pub/Sub emulator at {host}, which PUBSUB_EMULATOR_HOST names: {source}")]
    NoAnswer {
        /// The emulator's address.
        host: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// It refused a call.
    #[error("the Pub/Sub emulator refused {call}: {answer}")]
    Refused {
        /// The method and path of the call.
        call: String,
        /// The emulator's answer.
        answer: String,
    },
}

impl Emulator {
    /// `host` is the value of `PUBSUB_EMULATOR_HOST`.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn new(host: &str, project: &str) -> Result<Self, reqwest::Error> {
        let client =
            Client::builder().no_proxy().tls_certs_only([]).timeout(Timing::DEFAULT.request).build()?;
        Ok(Self { host: host.to_owned(), project: project.to_owned(), client, turn: Arc::default() })
    }

    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// Creates the catalog's topics and subscriptions. A subscription pushes to the URL that
    /// `push_endpoint` returns for its service. A subscription that exists stays, and gets the new
    /// URL.
    ///
    /// # Errors
    /// If the emulator does not answer, or refuses a call.
    pub async fn provision(
        &self,
        catalog: &Catalog,
        push_endpoint: impl Fn(&str) -> String,
    ) -> Result<(), ProvisionError> {
        let services = || catalog.services.iter();
        let topics = catalog.topics.iter().map(|topic| &topic.name);
        let topics = topics.chain(services().map(|service| &service.dead_letter_topic));
        try_join_all(topics.map(|topic| self.make(format!("topics/{topic}"), json!({})))).await?;

        let holders = services().map(|service| self.hold(&service.dead_letter_topic));
        try_join_all(holders).await?;
        let pushed = services().flat_map(|service| {
            let endpoint = push_endpoint(&service.name);
            service.subscriptions.iter().map(move |wired| self.subscribe(wired, endpoint.clone()))
        });
        try_join_all(pushed).await?;
        Ok(())
    }

    /// Creates the subscription that keeps dead letters until somebody pulls them.
    async fn hold(&self, topic: &str) -> Result<(), ProvisionError> {
        let holder = json!({ "topic": self.topic(topic), "ackDeadlineSeconds": Timing::DEFAULT.ack_deadline.as_secs() });
        self.make(format!("subscriptions/{topic}"), holder).await?;
        Ok(())
    }

    /// Without a retry policy, the emulator delivers again after a second. With message ordering,
    /// it would never forward a dead letter.
    async fn subscribe(&self, wired: &Subscription, endpoint: String) -> Result<(), ProvisionError> {
        let name = format!("subscriptions/{}", wired.name);
        let push_config = json!({ "pushEndpoint": endpoint });
        let subscription = json!({
            "topic": self.topic(&wired.topic),
            "filter": wired.filter,
            "ackDeadlineSeconds": Timing::DEFAULT.ack_deadline.as_secs(),
            "pushConfig": push_config,
            "deadLetterPolicy": {
                "deadLetterTopic": self.topic(&wired.dead_letter_topic),
                "maxDeliveryAttempts": Timing::DEFAULT.max_delivery_attempts,
            },
        });
        if self.make(name.clone(), subscription).await? == Made::Before {
            let before = self.push_endpoint(&name).await?;
            if !before.is_empty() && before != endpoint {
                tracing::warn!(
                    subscription = wired.name,
                    before,
                    now = endpoint,
                    "this subscription pushed to another address; the process there receives no more of its messages"
                );
            }
            let call = format!("{name}:modifyPushConfig");
            self.call(Method::POST, &call, &json!({ "pushConfig": push_config })).await?;
        }
        Ok(())
    }

    async fn push_endpoint(&self, name: &str) -> Result<String, ProvisionError> {
        let found = self.read(Method::GET, name, &json!({})).await?;
        Ok(found["pushConfig"]["pushEndpoint"].as_str().unwrap_or_default().to_owned())
    }

    /// The dead letters of a service, and whether these are all. They are pulled and released at
    /// once, so none is lost. Another subscriber that pulls at the same moment may have to pull
    /// again.
    pub(crate) async fn dead_letters(&self, topic: &str) -> Result<(Vec<Published>, bool), ProvisionError> {
        let mut found = Pulled::default();
        // A pull may return fewer messages than there are.
        loop {
            let wanted = json!({ "maxMessages": MOST_DEAD_LETTERS, "returnImmediately": true });
            let pulled = self.read(Method::POST, &format!("subscriptions/{topic}:pull"), &wanted).await;
            let pulled = pulled.map(|answer| serde_json::from_value::<Pulled>(answer).unwrap_or_default());
            let is_last = pulled.as_ref().map_or(true, |pulled| pulled.received_messages.is_empty());
            let outcome = pulled.map(|pulled| found.received_messages.extend(pulled.received_messages));
            if is_last || found.received_messages.len() >= MOST_DEAD_LETTERS {
                self.release(topic, &found).await?;
                outcome?;
                break;
            }
        }
        let is_all = found.received_messages.len() < MOST_DEAD_LETTERS;
        let letters = found.received_messages.into_iter();
        Ok((letters.filter_map(|received| received.message.published(topic)).collect(), is_all))
    }

    /// Two callers that pull at the same time would each see only some of the dead letters.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    async fn release(&self, topic: &str, pulled: &Pulled) -> Result<(), ProvisionError> {
        let ids: Vec<_> = pulled.received_messages.iter().map(|received| &received.ack_id).collect();
        if !ids.is_empty() {
            let call = format!("subscriptions/{topic}:modifyAckDeadline");
            self.call(Method::POST, &call, &json!({ "ackIds": ids, "ackDeadlineSeconds": 0 })).await?;
        }
        Ok(())
    }

    async fn make(&self, name: String, resource: Value) -> Result<Made, ProvisionError> {
        match self.call(Method::PUT, &name, &resource).await?.0 {
            StatusCode::CONFLICT => Ok(Made::Before),
            _ => Ok(Made::Now),
        }
    }

    async fn read(&self, method: Method, path: &str, body: &Value) -> Result<Value, ProvisionError> {
        let (_, answer) = self.call(method, path, body).await?;
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, String), ProvisionError> {
        let no_answer = |source| ProvisionError::NoAnswer { host: self.host.clone(), source };
        let url = format!("http://{}/v1/projects/{}/{path}", self.host, self.project);
        let response = self.client.request(method.clone(), url).json(body).send().await.map_err(no_answer)?;
        let status = response.status();
        let answer = response.text().await.map_err(no_answer)?;
        if status.is_success() || status == StatusCode::CONFLICT {
            return Ok((status, answer));
        }
        Err(ProvisionError::Refused { call: format!("{method} {path}"), answer })
    }

    fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }

    /// Forwards `/v1/projects/<any>/…` to the emulator, with the emulator's project.
    pub(crate) fn proxy(&self) -> Router {
        Router::new()
            .route("/v1/{*call}", any(forward))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(self.clone())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    #[serde(default)]
    received_messages: Vec<Received>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    ack_id: String,
    message: PushedMessage,
}

/// When a resource was created.
#[derive(PartialEq)]
enum Made {
    Now,
    Before,
}

async fn forward(
    State(emulator): State<Emulator>,
    method: Method,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let (Path(path), body) = (path?, body?);
    let segments: Vec<&str> = path.splitn(3, '/').collect();
    let ["projects", _, path] = &*segments else {
        return Err(ApiError::not_found(format_args!("there is no /v1/{path} here")));
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("http://{}/v1/projects/{}/{path}{query}", emulator.host, emulator.project);
    let request = emulator.client.request(method, url).header(CONTENT_TYPE, "application/json").body(body);
    let answer = async {
        let response = request.send().await?;
        let status = response.status();
        Ok::<_, reqwest::Error>((status, response.bytes().await?))
    };
    let (status, body) = answer.await.map_err(ApiError::unavailable)?;
    Ok((status, [(CONTENT_TYPE, "application/json")], body).into_response())
}
