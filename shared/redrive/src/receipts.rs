//! How far a service has come with an event.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use pushbox::{
    Clock,
    letters::{Progress, progress},
    store::Store,
};
use reqwest::Client;

use crate::NoClient;

const DEADLINE: Duration = Duration::from_secs(10);

/// Where receipts are read.
#[derive(Clone)]
pub enum Receipts {
    /// The store of a project or of the emulator.
    Store(Arc<dyn Store>, Clock),
    /// A local stack, whose store may be in its process: see [`local_stack`](Self::local_stack).
    LocalStack {
        /// The stack's URL.
        url: String,
        /// The client for its route.
        client: Client,
    },
}

impl Receipts {
    /// The receipts of the local stack at `url`.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn local_stack(url: &str) -> Result<Self, NoClient> {
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE).build();
        let client = client.map_err(|error| NoClient(error.to_string()))?;
        Ok(Self::LocalStack { url: url.trim_end_matches('/').to_owned(), client })
    }

    /// Reads the receipt with this id.
    pub(crate) async fn progress(&self, service: &str, receipt: &str) -> Result<Progress, String> {
        match self {
            Self::Store(store, clock) => {
                progress(&**store, service, receipt, clock.now()).await.map_err(|error| error.to_string())
            }
            Self::LocalStack { url, client } => {
                let request = client.get(format!("{url}/_local/receipts/{service}/{receipt}"));
                let answer = async { request.send().await?.error_for_status()?.json().await };
                answer.await.map_err(|error: reqwest::Error| error.to_string())
            }
        }
    }
}

/// A call that may have been made longer ago than this is repeated as a new one: Stripe forgets idempotency keys
/// [after 24 hours](https://docs.stripe.com/api/idempotent_requests).
pub(crate) const KEYS_ARE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a replay may repeat a call whose idempotency key is forgotten.
pub(crate) fn may_call_twice(progress: Progress, now: Timestamp) -> bool {
    let Progress::Claimed { may_have_called_since: Some(since) } = progress else { return false };
    now.saturating_sub(KEYS_ARE_KEPT).is_ok_and(|forgotten| since < forgotten)
}
