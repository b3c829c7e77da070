//! How long things may take, in one place, so that their order can be checked:
//! handler deadline < lease < ack deadline <= request timeout.

use std::time::Duration;

/// The deadline of a handler that runs in a transaction, with all of its re-runs.
pub const HANDLER_DEADLINE: Duration = Duration::from_secs(15);

/// How long a delivery of an effect may take until it has claimed it: the claim's transaction, and
/// the wait for another delivery that holds the claim.
pub const CLAIM_DEADLINE: Duration = Duration::from_secs(12);

/// One call to the outside: `perform` must have returned by then, connecting included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// `perform` is cut off after this. It is longer than [`CALL_DEADLINE`], so that a call that ends at
/// its own deadline can still say what came of it.
pub const CALL_CUT_OFF: Duration = Duration::from_secs(9);

/// How long recording the outcome of a call may take before the delivery fails.
pub const COMPLETION_DEADLINE: Duration = Duration::from_secs(4);

/// The deadline of a request to a service's own routes, the reading of its body included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// The reading of a request's body.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The deadline of a push, the reading of its body included.
pub const PUSH_DEADLINE: Duration = Duration::from_secs(29);

/// How long the transaction of a command may take before its caller gets 503. The caller then
/// repeats the request with the same idempotency key.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(5);

/// How long a claim keeps others from performing an effect, by the store's clock. It is longer than
/// a call and its completion take, so the holder has given up before another delivery takes over.
pub const LEASE: Duration = Duration::from_secs(20);

/// A claim whose commit took longer than this is not performed: the call and its completion would
/// no longer fit into the lease.
pub const CLAIM_PATIENCE: Duration = Duration::from_secs(6);

/// How long after its claim a process still tries to keep the outcome of a call while the store does
/// not answer.
pub const KEEP_TRYING: Duration = Duration::from_secs(60);

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
pub const RELAY_PATIENCE: Duration = Duration::from_secs(1);

/// `POST /relay` leaves events alone that are younger: their own request is publishing them.
pub const RELAY_AFTER: Duration = Duration::from_secs(10);

/// `POST /relay` begins no further publication after this.
pub const RELAY_BUDGET: Duration = Duration::from_secs(12);

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
    assert!(CALL_DEADLINE.as_secs() < CALL_CUT_OFF.as_secs());
    // The holder of a claim has given up before the lease ends.
    let call_and_completion = CALL_CUT_OFF.as_secs() + COMPLETION_DEADLINE.as_secs();
    assert!(CLAIM_PATIENCE.as_secs() + call_and_completion < LEASE.as_secs());
    // A rejected delivery is published after its handler has ended.
    assert!(HANDLER_DEADLINE.as_secs() + PUBLISH_DEADLINE.as_secs() <= PUSH_DEADLINE.as_secs());
    let effect = CLAIM_DEADLINE.as_secs() + call_and_completion;
    assert!(effect + PUBLISH_DEADLINE.as_secs() <= PUSH_DEADLINE.as_secs());
    assert!(PUSH_DEADLINE.as_secs() < ACK_DEADLINE.as_secs());
    assert!(
        RELAY_BUDGET.as_secs() + PUBLISH_DEADLINE.as_secs() + STORE_DEADLINE.as_secs()
            <= REQUEST_DEADLINE.as_secs()
    );
    // <https://cloud.google.com/pubsub/docs/handling-failures>
    assert!(5 <= MAX_DELIVERY_ATTEMPTS && MAX_DELIVERY_ATTEMPTS <= 100);
    assert!(RECEIPT_RETENTION.as_secs() >= 2 * RETENTION.as_secs() + DEAD_LETTER_RETENTION.as_secs());
};
