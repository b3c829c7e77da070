//! Pub/Sub's limits for a message, and the broker's limits for what it keeps in memory.

use pushbox::{Message, wire::limit};

/// How many messages of a push subscription may wait or be in flight. Beyond that, publishing to
/// its topic fails. No event is lost: a service that fails to publish keeps its events in the
/// receipt.
pub(crate) const MOST_UNACKED: usize = 50_000;

/// How many messages a pull subscription keeps. This includes the subscriptions that hold dead
/// letters. Beyond that, the oldest messages are dropped.
pub(crate) const MOST_PULLED: usize = 10_000;

/// How many bytes of messages a subscription of either kind keeps.
pub(crate) const MOST_BYTES: usize = 64 << 20;

/// How many subscriptions a person may create.
pub(crate) const MOST_SUBSCRIPTIONS: usize = 100;

/// Why a message is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// There is no such topic.
    #[error("there is no topic {0}")]
    UnknownTopic(String),
    /// The message breaks a limit. <https://cloud.google.com/pubsub/quotas#resource_limits>
    #[error("{0}")]
    Invalid(&'static str),
    /// Too many messages wait for a service. Pub/Sub has no such limit.
    #[error("the subscription {0} is full: start its service, or let it catch up")]
    Full(String),
}

/// <https://cloud.google.com/pubsub/quotas#resource_limits>
pub(crate) fn check(message: &Message) -> Result<(), Refused> {
    let Message { attributes, data, .. } = message;
    let refused = if data.is_empty() && attributes.is_empty() {
        "a message needs data or an attribute"
    } else if data.len() > limit::DATA_BYTES {
        "the data is larger than 10 MB"
    } else if attributes.len() > limit::ATTRIBUTES {
        "there are more than 100 attributes"
    } else if !attributes.keys().all(|name| is_name(name)) {
        "an attribute's name is empty, is longer than 256 bytes, or begins with goog"
    } else if attributes.values().any(|value| value.len() > limit::ATTRIBUTE_VALUE_BYTES) {
        "an attribute's value is longer than 1024 bytes"
    } else {
        return Ok(());
    };
    Err(Refused::Invalid(refused))
}

fn is_name(name: &str) -> bool {
    (1..=limit::ATTRIBUTE_NAME_BYTES).contains(&name.len()) && !name.starts_with(limit::RESERVED_NAME_PREFIX)
}
