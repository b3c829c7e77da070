//! Google Cloud Pub/Sub, or its emulator.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::{
    client::{BasePublisher, Publisher as TopicPublisher},
    model,
    retry_policy::RetryableErrors,
};
use tokio::sync::OnceCell;

use super::{PublishError, Publisher};
use crate::{Message, Timing};

/// Google Cloud Pub/Sub. It connects at its first use.
pub struct PubSub {
    project: String,
    names_prefix: String,
    deadline: Duration,
    emulator: Option<String>,
    client: OnceCell<BasePublisher>,
    topics: Mutex<BTreeMap<String, TopicPublisher>>,
}

impl PubSub {
    /// The topics of `project`. Their names in the cloud begin with `names_prefix`, so that two deployments
    /// can share a project. `emulator` is the host and port of the emulator, because the client library does
    /// not read `PUBSUB_EMULATOR_HOST`.
    #[must_use]
    pub fn new(project: &str, names_prefix: &str, emulator: Option<&str>) -> Self {
        Self {
            project: project.to_owned(),
            names_prefix: names_prefix.to_owned(),
            deadline: Timing::DEFAULT.publish,
            emulator: emulator.map(str::to_owned),
            client: OnceCell::new(),
            topics: Mutex::default(),
        }
    }

    /// Ends each call after this time. It is [`Timing::publish`] by default.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn connect(&self) -> Result<BasePublisher, String> {
        // The default retries for ten minutes, longer than any ack deadline.
        let retry = RetryableErrors.with_time_limit(self.deadline);
        let mut builder = BasePublisher::builder().with_retry_policy(retry);
        if let Some(host) = &self.emulator {
            let credentials = anonymous::Builder::new().build();
            builder = builder.with_endpoint(format!("http://{host}")).with_credentials(credentials);
        }
        builder.build().await.map_err(|error| error.to_string())
    }

    async fn topic(&self, topic: &str) -> Result<TopicPublisher, String> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(publisher) = topics.get(topic) {
            return Ok(publisher.clone());
        }
        let name = format!("projects/{}/topics/{}{topic}", self.project, self.names_prefix);
        // Without batching: the default would delay each event by 10 ms.
        let publisher = client.publisher(name).set_message_count_threshold(1).build();
        topics.insert(topic.to_owned(), publisher.clone());
        Ok(publisher)
    }
}

#[async_trait]
impl Publisher for PubSub {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let Message { topic, attributes, data } = message;
        let publish = async {
            let outgoing = model::Message::new().set_data(data).set_attributes(attributes);
            let publisher = self.topic(&topic).await?;
            publisher.publish(outgoing).await.map_err(|error| error.to_string())
        };
        tokio::time::timeout(self.deadline, publish)
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(|reason| PublishError { topic: topic.clone(), reason })
    }
}
