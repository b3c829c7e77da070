//! The port to the timers: messages that are published at a later time. Its adapter for Google Cloud Tasks is
//! [`CloudTasks`]. The local stack has another adapter.

#[cfg(feature = "tasks")]
mod cloud_tasks;

#[cfg(feature = "tasks")]
pub use cloud_tasks::CloudTasks;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::json;

use crate::{
    Message, Path, ServiceName, Timing,
    key::digest,
    receipt::Receipt,
    store::{Query, RECEIPTS, Store, StoreError, TIMERS_DUE},
};

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
/// error, the call may still have taken effect. Timers may fire late:
/// [`Context::publish_at`](crate::Context::publish_at) says what that means for a service.
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

/// The timers in the receipts of a service that are due at `since` or later, whether they still wait or not. No timer
/// that was staged before `now` is due later than [`timer_horizon`](Timing::timer_horizon) after it.
///
/// # Errors
/// If the store does not answer, or if a receipt cannot be read.
pub async fn staged(
    store: &dyn Store,
    service: ServiceName,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<Timer>, StoreError> {
    let mut timers = Vec::new();
    let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let horizon = now.saturating_add(Timing::DEFAULT.timer_horizon).unwrap_or(Timestamp::MAX);
    // The last timer of a receipt is due on this day. A range of days would need an index that grows at one end. The
    // clock that staged the last timer may have been ahead.
    let days = day(since).series(1.day()).take_while(|next| *next <= day(horizon).saturating_add(1.day()));
    for day in days {
        let mut query = Query {
            collection: Path::collection_of(service, RECEIPTS),
            filters: vec![(TIMERS_DUE, day.to_string().into())],
            after: Some(String::new()),
            limit: PAGE,
        };
        loop {
            let page = store.list(&query).await?;
            query.after = page.last().map(|stored| stored.id.clone());
            let is_last = page.len() < PAGE;
            for stored in page {
                let receipt = Receipt::of(stored.fields)?;
                let events = receipt.outbox().events.iter();
                timers.extend(
                    events.filter_map(|event| event.timer(service)).filter(|timer| timer.at >= since),
                );
            }
            if is_last {
                break;
            }
        }
    }
    Ok(timers)
}

/// The number of receipts that are listed at once.
const PAGE: usize = 200;

/// The id of the timer for an event. The names of Cloud Tasks should be
/// [evenly distributed](https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/create).
pub(crate) fn timer_id(service: ServiceName, event_id: &str) -> String {
    let mut id = digest(&["timer", service, event_id]);
    id.truncate(40);
    id
}
