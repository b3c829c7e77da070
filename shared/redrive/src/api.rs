//! Calls of Google's REST APIs.

use std::time::Duration;

use google_cloud_auth::credentials::{AccessTokenCredentials, Builder};
use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use serde_json::Value;

/// The deadline of one call. An answer of Pub/Sub to a pull can have 10 MB.
const DEADLINE: Duration = Duration::from_secs(20);

/// A client for an API.
pub(crate) struct Api {
    pub(crate) client: Client,
    credentials: Option<AccessTokenCredentials>,
}

/// There is no client for an API.
#[derive(Debug, thiserror::Error)]
#[error("cannot call Google's API: {0}")]
pub struct NoClient(pub(crate) String);

impl Api {
    /// An API in the cloud, with the credentials of the application and this permission.
    pub(crate) fn cloud(scope: &str) -> Result<Self, NoClient> {
        let credentials = Builder::default().with_scopes([scope]).build_access_token_credentials();
        let credentials = credentials.map_err(|error| {
            NoClient(format!("{error}. Log in with: gcloud auth application-default login"))
        })?;
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(DEADLINE).build();
        let client = client.map_err(|error| NoClient(error.to_string()))?;
        Ok(Self { client, credentials: Some(credentials) })
    }

    /// An API on this machine, without credentials.
    pub(crate) fn local() -> Result<Self, NoClient> {
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE).build();
        let client = client.map_err(|error| NoClient(error.to_string()))?;
        Ok(Self { client, credentials: None })
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
        let response = request.send().await.map_err(|error| (None, error.to_string()))?;
        let status = response.status();
        let answer = response.text().await.map_err(|error| (None, error.to_string()))?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        // <https://cloud.google.com/apis/design/errors#http_mapping>
        let message = answer["error"]["message"].as_str().unwrap_or("no reason is given");
        Err((Some(status), format!("{status}: {message}")))
    }
}
