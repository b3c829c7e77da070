//! How long things may take, in one place, so that their order can be checked:
//! handler deadline < lease < ack deadline <= request timeout.

use std::time::Duration;

/// A handler's deadline, all of its steps and re-runs included.
pub const HANDLER_DEADLINE: Duration = Duration::from_secs(15);

/// Any request's deadline, the reading of its body included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// How long a claim keeps others from performing an effect. Longer than the handler's deadline, so
/// that whoever holds the claim has given up before somebody else takes it over.
pub const LEASE: Duration = Duration::from_secs(20);

/// Pub/Sub delivers again when it has no answer after so long.
/// <https://cloud.google.com/pubsub/docs/lease-management>
pub const ACK_DEADLINE: Duration = Duration::from_secs(30);

/// Cloud Run cuts a request off after so long.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// One call to the store.
pub const STORE_DEADLINE: Duration = Duration::from_secs(4);

/// One call to the publisher.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(4);

/// How long the answer to a producer's caller may wait for the relay. What is not published by
/// then is published by `POST /relay`.
pub const RELAY_PATIENCE: Duration = Duration::from_secs(2);

/// `POST /relay` leaves events alone that are younger: their own request is publishing them.
pub const RELAY_AFTER: Duration = Duration::from_secs(10);

/// Cloud Run kills an instance 10 seconds after SIGTERM.
/// <https://cloud.google.com/run/docs/container-contract#instance-shutdown>
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(9);

/// Pub/Sub's redelivery back-off, from the first to the longest pause.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// After so many deliveries Pub/Sub parks a message as a dead letter. It is the most that Pub/Sub
/// allows: with the back-off above it gives a consumer that is down about 16 hours. What can never
/// work is rejected at once and does not wait for this.
pub const MAX_DELIVERY_ATTEMPTS: u32 = 100;

/// How long a topic and its subscriptions keep a message.
pub const RETENTION: Duration = Duration::from_secs(7 * DAY);

/// How long a dead letter is kept: the most that Pub/Sub allows.
pub const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(31 * DAY);

/// How long a receipt is kept: as long as its message can come back. It may be delivered a last time
/// at the end of its topic's retention, be parked, be replayed at the end of the dead letter's, and
/// then wait for as long as before.
pub const RECEIPT_RETENTION: Duration = Duration::from_secs(45 * DAY);

const DAY: u64 = 24 * 60 * 60;

const _: () = {
    assert!(HANDLER_DEADLINE.as_secs() < LEASE.as_secs());
    assert!(LEASE.as_secs() < ACK_DEADLINE.as_secs());
    assert!(ACK_DEADLINE.as_secs() <= REQUEST_TIMEOUT.as_secs());
    assert!(STORE_DEADLINE.as_secs() < HANDLER_DEADLINE.as_secs());
    assert!(PUBLISH_DEADLINE.as_secs() < HANDLER_DEADLINE.as_secs());
    // A rejected delivery is published after its handler has ended.
    assert!(HANDLER_DEADLINE.as_secs() + PUBLISH_DEADLINE.as_secs() <= REQUEST_DEADLINE.as_secs());
    assert!(REQUEST_DEADLINE.as_secs() < ACK_DEADLINE.as_secs());
    // <https://cloud.google.com/pubsub/docs/handling-failures>
    assert!(5 <= MAX_DELIVERY_ATTEMPTS && MAX_DELIVERY_ATTEMPTS <= 100);
    assert!(RECEIPT_RETENTION.as_secs() >= 2 * RETENTION.as_secs() + DEAD_LETTER_RETENTION.as_secs());
};
