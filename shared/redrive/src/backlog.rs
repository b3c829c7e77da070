//! How many messages wait in each subscription, by
//! [Cloud Monitoring](https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-pubsub).

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{Names, NoClient, api::Api};

/// The permission of the access token.
const SCOPE: &str = "https://www.googleapis.com/auth/monitoring.read";

/// The figures come once a minute, and up to four minutes late.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(10);

const MESSAGES: &str = "pubsub.googleapis.com/subscription/num_undelivered_messages";
const OLDEST: &str = "pubsub.googleapis.com/subscription/oldest_unacked_message_age";

/// Cloud Monitoring. The emulators have none.
pub struct Monitoring {
    url: String,
    names: Names,
    api: Api,
}

/// The messages that a subscription has not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Their number, a few minutes ago.
    pub messages: u64,
    /// The age of the oldest.
    pub oldest: Duration,
}

impl Monitoring {
    /// Cloud Monitoring, with the
    /// [credentials of the application](https://cloud.google.com/docs/authentication/application-default-credentials).
    ///
    /// # Errors
    /// If there are no credentials.
    pub fn cloud(names: &Names) -> Result<Self, NoClient> {
        let url = "https://monitoring.googleapis.com".to_owned();
        Ok(Self { url, names: names.clone(), api: Api::cloud("Cloud Monitoring", SCOPE)? })
    }

    /// A stand-in at this URL, for tests.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn stand_in(url: &str, names: &Names) -> Result<Self, NoClient> {
        Ok(Self { url: url.to_owned(), names: names.clone(), api: Api::local("Cloud Monitoring")? })
    }

    /// The backlogs of the deployment's subscriptions, by their short names. A subscription without a figure is left out.
    ///
    /// # Errors
    /// The reason, if Cloud Monitoring does not answer as expected.
    pub async fn backlogs(&self, now: Timestamp) -> Result<BTreeMap<String, Backlog>, String> {
        let (messages, oldest) = tokio::try_join!(self.latest(MESSAGES, now), self.latest(OLDEST, now))?;
        let backlog = |(name, messages): (String, u64)| {
            let oldest = Duration::from_secs(oldest.get(&name).copied().unwrap_or_default());
            (name, Backlog { messages, oldest })
        };
        Ok(messages.into_iter().map(backlog).collect())
    }

    /// The latest value for each subscription.
    async fn latest(&self, metric: &str, now: Timestamp) -> Result<BTreeMap<String, u64>, String> {
        let mut found = BTreeMap::new();
        let mut page = String::new();
        loop {
            let from = now.saturating_sub(LOOK_BACK).map_err(|error| error.to_string())?;
            let filter = format!("metric.type=\"{metric}\" AND resource.type=\"pubsub_subscription\"");
            let query = [
                ("filter", filter.as_str()),
                ("interval.startTime", &from.to_string()),
                ("interval.endTime", &now.to_string()),
                ("pageToken", &page),
            ];
            let url = format!("{}/v3/projects/{}/timeSeries", self.url, self.names.project);
            let answer = self.api.send(self.api.client.get(url).query(&query)).await;
            let answer = answer.map_err(|(_, reason)| format!("Cloud Monitoring: {reason}"))?;
            let answer: Answer = serde_json::from_value(answer)
                .map_err(|error| format!("Cloud Monitoring's answer cannot be read: {error}"))?;
            for Series { resource, points } in answer.time_series {
                // The newest point is the first.
                let latest = points.first().and_then(|point| point.value.int64_value.parse().ok());
                let name = resource.labels.subscription_id;
                if let (Some(latest), Some(short)) = (latest, name.strip_prefix(&self.names.prefix)) {
                    found.insert(short.to_owned(), latest);
                }
            }
            if answer.next_page_token.is_empty() {
                return Ok(found);
            }
            page = answer.next_page_token;
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    time_series: Vec<Series>,
    next_page_token: String,
}

#[derive(Deserialize)]
struct Series {
    resource: Resource,
    #[serde(default)]
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Resource {
    labels: Labels,
}

#[derive(Deserialize)]
struct Labels {
    subscription_id: String,
}

#[derive(Deserialize)]
struct Point {
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    /// A number as text.
    int64_value: String,
}
