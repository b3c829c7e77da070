use std::time::Duration;

use jiff::Timestamp;
use pushbox::Timing;

/// How often, how long and how many at once.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryPolicy {
    /// A delivery without an answer counts as failed after so long.
    /// <https://cloud.google.com/pubsub/docs/lease-management>
    pub ack_deadline: Duration,
    /// The pause after a message's first failed delivery. It doubles with each further one.
    /// <https://cloud.google.com/pubsub/docs/handling-failures#exponential_backoff>
    pub min_backoff: Duration,
    /// The longest pause between two deliveries of a message.
    pub max_backoff: Duration,
    /// After so many failed deliveries a message becomes a dead letter.
    /// <https://cloud.google.com/pubsub/docs/handling-failures#how_dead_letter_topics_work>
    pub max_delivery_attempts: u32,
    /// How many deliveries of one subscription may be under way. Pub/Sub adapts the number; here
    /// it is fixed.
    pub max_in_flight: usize,
    /// A message that was not acked for so long is dropped.
    pub retention: Duration,
    /// The same for dead letters.
    pub dead_letter_retention: Duration,
}

impl DeliveryPolicy {
    /// As the catalog has it in production.
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

    /// With pauses from one second to one minute, so that a developer sees what happens. A service
    /// that stays down for more than an hour and a half finds its messages dead-lettered.
    #[must_use]
    pub fn local() -> Self {
        let (min_backoff, max_backoff) = (Duration::from_secs(1), Duration::from_secs(60));
        Self { min_backoff, max_backoff, ..Self::production() }
    }

    /// The pause after the given number of failed deliveries.
    pub(super) fn backoff(&self, attempts: u32) -> Duration {
        // Beyond 2^20 any pause has reached its maximum.
        let doublings = attempts.saturating_sub(1).min(20);
        self.min_backoff.saturating_mul(1 << doublings).min(self.max_backoff)
    }
}

pub(super) fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.saturating_add(pause).unwrap_or(Timestamp::MAX)
}
