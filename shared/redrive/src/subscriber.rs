//! The port to the holders: the subscriptions that keep dead letters.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

/// A message that was pulled. Nobody else gets it until its lease ends.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Names this delivery in the calls that follow.
    pub ack_id: String,
    /// Unique within the topic.
    pub message_id: String,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The data.
    pub data: Bytes,
    /// The time at which the message was published.
    pub publish_time: Timestamp,
}

/// Pub/Sub's calls for a pull subscription, which is given by its short name. After an error, a call may have taken
/// effect.
#[async_trait]
pub trait Subscriber: Send + Sync {
    /// Pulls at most this many messages, and does not wait for new ones. An empty answer does not mean that there is
    /// none.
    async fn pull(&self, subscription: &str, most: usize) -> Result<Vec<Pulled>, CallError>;

    /// Sets the time until the leases end, from now. Zero gives the messages back.
    async fn lease(&self, subscription: &str, ack_ids: &[String], time: Duration) -> Result<(), CallError>;

    /// Removes the messages. After the end of its lease, a message may stay.
    async fn acknowledge(&self, subscription: &str, ack_ids: &[String]) -> Result<(), CallError>;
}

/// A call failed, or its answer is missing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct CallError {
    /// The reason, for a person.
    pub reason: String,
    /// The subscription or the topic does not exist.
    pub is_missing: bool,
}
