//! Calls of Google's REST APIs.

use std::time::Duration;

use google_cloud_auth::credentials::{AccessTokenCredentials, Builder};
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use serde_json::Value;

/// The deadline of one call. An answer of Pub/Sub to a pull can have 10 MB.
const DEADLINE: Duration = Duration::from_secs(20);

/// The deadline of a connection, which is a part of that.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A client for an API.
pub(crate) struct Api {
    /// What answers, and what a person can do if it does not.
    name: &'static str,
    advice: &'static str,
    pub(crate) client: Client,
    credentials: Option<AccessTokenCredentials>,
}

/// There is no client for an API.
#[derive(Debug, thiserror::Error)]
#[error("cannot call Google's API: {0}")]
pub struct NoClient(pub(crate) String);

impl Api {
    /// An API in the cloud, with the credentials of the application and this permission.
    pub(crate) fn cloud(name: &'static str, scope: &str) -> Result<Self, NoClient> {
        let credentials = Builder::default().with_scopes([scope]).build_access_token_credentials();
        let credentials = credentials.map_err(|error| {
            NoClient(format!("{error}. Log in with: gcloud auth application-default login"))
        })?;
        let client = Client::builder().redirect(redirect::Policy::none());
        let client = client.connect_timeout(CONNECT_DEADLINE).timeout(DEADLINE).build();
        let client = client.map_err(|error| NoClient(error.to_string()))?;
        Ok(Self { name, advice: "Is there a network?", client, credentials: Some(credentials) })
    }

    /// An API on this machine, without credentials.
    pub(crate) fn local(name: &'static str) -> Result<Self, NoClient> {
        let client = Client::builder().no_proxy().tls_certs_only([]);
        let client = client.connect_timeout(CONNECT_DEADLINE).timeout(DEADLINE).build();
        let client = client.map_err(|error| NoClient(error.to_string()))?;
        Ok(Self { name, advice: "Does the emulator, or the local stack, run?", client, credentials: None })
    }

    /// The answer. The error has the status, if there is an answer.
    pub(crate) async fn send(
        &self,
        mut request: RequestBuilder,
    ) -> Result<Value, (Option<StatusCode>, String)> {
        if let Some(credentials) = &self.credentials {
            let token = credentials.access_token().await.map_err(|error| (None, error.to_string()))?;
            request = request.bearer_auth(token.token);
        }
        let failed = |error: reqwest::Error| (None, failure(self.name, self.advice, &error));
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let host = host_of(response.url());
        let answer = response.text().await.map_err(failed)?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        // <https://cloud.google.com/apis/design/errors#http_mapping>
        let reason = match answer["error"]["message"].as_str() {
            Some(message) => format!("{status}: {message}"),
            None => format!("{host} answers {status}, but not as {} does. Is the address right?", self.name),
        };
        Err((Some(status), reason))
    }
}

/// Why a call has no answer, for a person.
pub(crate) fn failure(name: &str, advice: &str, error: &reqwest::Error) -> String {
    let host = error.url().map(host_of).unwrap_or_default();
    match error.status() {
        Some(status) => format!("{name} at {host} answers {status}"),
        None if error.is_connect() || error.is_timeout() || error.is_request() => {
            format!("{name} does not answer at {host}. {advice}")
        }
        None => format!("the answer of {name} at {host} cannot be read: {error}"),
    }
}

/// Such as `127.0.0.1:8085`.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
