use std::time::Duration;

use jiff::Timestamp;
use pushbox::Timing;

/// The deadlines, retries and limits of deliveries.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryPolicy {
    /// A delivery without an answer counts as failed after this time.
    /// <https://cloud.google.com/pubsub/docs/lease-management>
    pub ack_deadline: Duration,
    /// The pause after a message's first failed delivery. It doubles with each further one.
    /// <https://cloud.google.com/pubsub/docs/handling-failures#exponential_backoff>
    pub min_backoff: Duration,
    /// The longest pause between two deliveries of a message.
    pub max_backoff: Duration,
    /// A message becomes a dead letter after this many failed deliveries.
    /// <https://cloud.google.com/pubsub/docs/handling-failures#how_dead_letter_topics_work>
    pub max_delivery_attempts: u32,
    /// How many deliveries of one subscription may be in flight. Pub/Sub adapts the number; here it
    /// is fixed.
    pub max_in_flight: usize,
    /// A message is dropped if it is not acked within this time.
    pub retention: Duration,
    /// The same for dead letters.
    pub dead_letter_retention: Duration,
}

impl DeliveryPolicy {
    /// The values of the catalog in production.
    #[must_use]
    pub fn production() -> Self {
        Self {
            ack_deadline: Timing::DEFAULT.ack_deadline,
            min_backoff: Timing::DEFAULT.min_backoff,
            max_backoff: Timing::DEFAULT.max_backoff,
            max_delivery_attempts: Timing::DEFAULT.max_delivery_attempts,
            max_in_flight: 32,
            retention: Timing::DEFAULT.retention,
            dead_letter_retention: Timing::DEFAULT.dead_letter_retention,
        }
    }

    /// The pauses are one second to one minute, so that a developer soon sees a retry. If a service
    /// is down for more than an hour and a half, its messages become dead letters.
    #[must_use]
    pub fn local() -> Self {
        let (min_backoff, max_backoff) = (Duration::from_secs(1), Duration::from_secs(60));
        Self { min_backoff, max_backoff, ..Self::production() }
    }

    /// The pause after the given number of failed deliveries.
    pub(super) fn backoff(&self, attempts: u32) -> Duration {
        // A pause of 2^20 times the minimum has reached the maximum.
        let doublings = attempts.saturating_sub(1).min(20);
        self.min_backoff.saturating_mul(1 << doublings).min(self.max_backoff)
    }
}

pub(crate) fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.saturating_add(pause).unwrap_or(Timestamp::MAX)
}
