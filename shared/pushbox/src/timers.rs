//! The port to the timers: messages that are published at a later time. Its adapter for Google Cloud Tasks is
//! [`CloudTasks`]. The local stack has another adapter.

#[cfg(feature = "tasks")]
mod cloud_tasks;

#[cfg(feature = "tasks")]
pub use cloud_tasks::CloudTasks;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::json;

use crate::{Message, ServiceName, key::digest};

/// A message and the time at which it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Timer {
    /// The service whose event it is.
    pub service: ServiceName,
    /// 40 hexadecimal digits that derive from the event's id.
    pub id: String,
    /// The time at which the message is published. A time in the past means: at once.
    pub at: Timestamp,
    /// The message, with the attributes of an immediate publication.
    pub message: Message,
}

impl Timer {
    /// The body of the [call](https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish) that
    /// publishes the message.
    #[must_use]
    pub fn publish_body(&self) -> String {
        let data = BASE64_STANDARD.encode(&self.message.data);
        json!({ "messages": [{ "data": data, "attributes": self.message.attributes }] }).to_string()
    }
}

/// A way to publish messages at a later time, at least once.
///
/// Every call must end within [`Timing::publish`](crate::Timing::publish), possibly with an error. After an
/// error, the call may still have taken effect. Timers may fire late. So a decision must compare the times
/// that it knows, and not wait for a timer.
#[async_trait]
pub trait Timers: Send + Sync + 'static {
    /// Sets a timer. An id that was used before counts as set: the runtime repeats the call after a crash.
    async fn set(&self, timer: Timer) -> Result<(), TimerError>;

    /// Cancels a timer. One that does not exist, or that has fired, counts as cancelled.
    async fn cancel(&self, service: ServiceName, id: &str) -> Result<(), TimerError>;
}

/// A timer was not set or not cancelled, or it is unknown whether it was.
#[derive(Debug, thiserror::Error)]
#[error("the timers of {service} do not answer: {reason}")]
pub struct TimerError {
    /// The service.
    pub service: ServiceName,
    /// The reason.
    pub reason: String,
}

/// The id of the timer for an event. The names of Cloud Tasks should be
/// [evenly distributed](https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/create).
pub(crate) fn timer_id(service: ServiceName, event_id: &str) -> String {
    let mut id = digest(&["timer", service, event_id]);
    id.truncate(40);
    id
}
