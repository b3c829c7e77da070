//! [Google's Pub/Sub emulator](https://cloud.google.com/pubsub/docs/emulator) in the broker's
//! place: its topics and subscriptions made from the catalog, through its REST API.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::any,
};
use futures::future::try_join_all;
use pushbox::{Catalog, Subscription, timing};
use reqwest::Client;
use serde_json::{Value, json};

use crate::rest::{ApiError, LARGEST_BODY};

/// A project on a running emulator.
#[derive(Clone)]
pub struct Emulator {
    host: String,
    project: String,
    client: Client,
}

/// The emulator could not be provisioned.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It gave no answer.
    #[error("no answer from the Pub/Sub emulator at {host}, which PUBSUB_EMULATOR_HOST names: {source}")]
    NoAnswer {
        /// Where it should be.
        host: String,
        /// Why there is no answer.
        source: reqwest::Error,
    },
    /// It did not do as it was told.
    #[error("the Pub/Sub emulator refused {call}: {answer}")]
    Refused {
        /// What it was told.
        call: String,
        /// What it said.
        answer: String,
    },
}

impl Emulator {
    /// `host` is what `PUBSUB_EMULATOR_HOST` says.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new(host: &str, project: &str) -> Result<Self, reqwest::Error> {
        let client =
            Client::builder().no_proxy().tls_certs_only([]).timeout(timing::REQUEST_DEADLINE).build()?;
        Ok(Self { host: host.to_owned(), project: project.to_owned(), client })
    }

    /// Makes the catalog's topics and subscriptions, which push to the URLs that `push_endpoint`
    /// gives for the services. What exists already stays, with the new URL.
    ///
    /// # Errors
    /// When the emulator gives no answer or refuses.
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

    /// Keeps dead letters until somebody pulls them.
    async fn hold(&self, topic: &str) -> Result<(), ProvisionError> {
        let holder =
            json!({ "topic": self.topic(topic), "ackDeadlineSeconds": timing::ACK_DEADLINE.as_secs() });
        self.make(format!("subscriptions/{topic}"), holder).await?;
        Ok(())
    }

    /// Without a retry policy the emulator tries again each second. With message ordering it would
    /// never dead-letter.
    async fn subscribe(&self, wired: &Subscription, endpoint: String) -> Result<(), ProvisionError> {
        let name = format!("subscriptions/{}", wired.name);
        let push_config = json!({ "pushEndpoint": endpoint });
        let subscription = json!({
            "topic": self.topic(&wired.topic),
            "filter": wired.filter,
            "ackDeadlineSeconds": timing::ACK_DEADLINE.as_secs(),
            "pushConfig": push_config,
            "deadLetterPolicy": {
                "deadLetterTopic": self.topic(&wired.dead_letter_topic),
                "maxDeliveryAttempts": timing::MAX_DELIVERY_ATTEMPTS,
            },
        });
        if self.make(name.clone(), subscription).await? == Made::Before {
            let call = format!("{name}:modifyPushConfig");
            self.call(Method::POST, &call, &json!({ "pushConfig": push_config })).await?;
        }
        Ok(())
    }

    async fn make(&self, name: String, resource: Value) -> Result<Made, ProvisionError> {
        match self.call(Method::PUT, &name, &resource).await? {
            StatusCode::CONFLICT => Ok(Made::Before),
            _ => Ok(Made::Now),
        }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<StatusCode, ProvisionError> {
        let no_answer = |source| ProvisionError::NoAnswer { host: self.host.clone(), source };
        let url = format!("http://{}/v1/projects/{}/{path}", self.host, self.project);
        let response = self.client.request(method.clone(), url).json(body).send().await.map_err(no_answer)?;
        let status = response.status();
        if status.is_success() || status == StatusCode::CONFLICT {
            return Ok(status);
        }
        let answer = response.text().await.map_err(no_answer)?;
        Err(ProvisionError::Refused { call: format!("{method} {path}"), answer })
    }

    fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }

    /// Passes `/v1/projects/<any>/…` on to the emulator, on its project.
    pub(crate) fn proxy(&self) -> Router {
        Router::new()
            .route("/v1/{*call}", any(pass_on))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(self.clone())
    }
}

/// Since when a resource exists.
#[derive(PartialEq)]
enum Made {
    Now,
    Before,
}

async fn pass_on(
    State(emulator): State<Emulator>,
    method: Method,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, ApiError> {
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
