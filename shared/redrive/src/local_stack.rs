//! The routes of a local stack that Pub/Sub does not have.

use std::time::Duration;

use jiff::Timestamp;
use pushbox::letters::Progress;
use reqwest::Client;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{NoClient, api::failure};

const DEADLINE: Duration = Duration::from_secs(10);

/// A local stack in another process. A clone is another handle to it.
#[derive(Clone)]
pub struct LocalStack {
    url: String,
    client: Client,
}

#[derive(Deserialize)]
struct Told {
    now: Timestamp,
}

impl LocalStack {
    /// The local stack at `url`, such as `http://localhost:8080`.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn at(url: &str) -> Result<Self, NoClient> {
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE).build();
        let client = client.map_err(|error| NoClient(error.to_string()))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client })
    }

    /// Its time, which can be ahead of the machine's. Its letters have this time.
    ///
    /// # Errors
    /// The reason, if it does not answer.
    pub async fn now(&self) -> Result<Timestamp, String> {
        Ok(self.get::<Told>("clock").await?.now)
    }

    /// Reads the receipt with this id.
    pub(crate) async fn progress(&self, service: &str, receipt: &str) -> Result<Progress, String> {
        self.get(&format!("receipts/{service}/{receipt}")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let request = self.client.get(format!("{}/_local/{path}", self.url));
        let answer = async { request.send().await?.error_for_status()?.json().await };
        answer.await.map_err(|error| failure("the local stack", "Does it run?", &error))
    }
}
