//! The port to the topics, and its adapter for Google Cloud Pub/Sub. The other adapter is the
//! local stack's broker.

mod pubsub;

pub use pubsub::PubSub;

use async_trait::async_trait;

use crate::Message;

/// Somewhere to publish to.
///
/// Every call ends within a few seconds, with an error if need be. After an error the message may
/// have been published all the same.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Publishes a message and returns the id that it was given.
    async fn publish(&self, message: Message) -> Result<String, PublishError>;
}

/// A message could not be published, or nobody knows whether it was.
#[derive(Debug, thiserror::Error)]
#[error("could not publish to {topic}: {reason}")]
pub struct PublishError {
    /// The topic's short name.
    pub topic: String,
    /// What the publisher said.
    pub reason: String,
}
