//! The port to the topics, and its adapter for Google Cloud Pub/Sub. The local stack's broker is another
//! adapter.

#[cfg(feature = "pubsub")]
mod pubsub;

#[cfg(feature = "pubsub")]
pub use pubsub::PubSub;

use async_trait::async_trait;

use crate::Message;

/// A way to publish messages.
///
/// Every call must end within [`Timing::publish`](crate::Timing::publish), possibly with an error. After an
/// error the message may still have been published.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Publishes a message and returns its id.
    async fn publish(&self, message: Message) -> Result<String, PublishError>;
}

/// A message was not published, or it is unknown whether it was.
#[derive(Debug, thiserror::Error)]
#[error("could not publish to {topic}: {reason}")]
pub struct PublishError {
    /// The topic's short name.
    pub topic: String,
    /// The reason.
    pub reason: String,
}
