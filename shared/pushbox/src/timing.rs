//! How long things may take, in one place, so that their order can be checked.

use std::time::Duration;

/// All deadlines and retention times of a service. The defaults fit together:
/// handler < lease < ack deadline <= request timeout.
///
/// A service does not start with values for which [`check`](Self::check) fails. The adapters and the catalog
/// use the defaults: pass other deadlines to `with_deadline` of the adapters, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The deadline of a handler that runs in a transaction, with all its re-runs.
    pub handler: Duration,
    /// The time in which a delivery must claim an effect: the claim's transaction, and the wait for
    /// another delivery that holds the claim.
    pub claim: Duration,
    /// The deadline of one call to the outside, connecting included. `perform` must return by then.
    pub call: Duration,
    /// The runtime cuts `perform` off after this. It is longer than [`call`](Self::call), so that a call
    /// that ends at its own deadline can still return its outcome.
    pub call_cut_off: Duration,
    /// The time in which the outcome of a call must be recorded. After that the delivery fails.
    pub completion: Duration,
    /// How long a claim keeps other deliveries from performing the effect, by the store's clock. It is
    /// longer than a call and its completion take.
    pub lease: Duration,
    /// A claim whose commit took longer than this is not performed: the call and its completion would
    /// no longer fit into the lease.
    pub claim_patience: Duration,
    /// After its claim, a process tries for this long to keep the outcome of a call while the store does
    /// not answer.
    pub keep_trying: Duration,
    /// The deadline of a command's transaction. After that the caller gets 503 and repeats the request
    /// with the same idempotency key.
    pub command: Duration,
    /// The deadline of a request to a service's own routes, the reading of its body included.
    pub request: Duration,
    /// The deadline for reading a request's body.
    pub body: Duration,
    /// The deadline of a push, the reading of its body included.
    pub push: Duration,
    /// The time after a push's deadline in which its message can still be moved to the dead-letter topic. The answer must
    /// reach Pub/Sub within the ack deadline. With the defaults, 0.8 s of the second between the two are for a read and a
    /// publication, which usually take some 10 ms each, and 0.2 s for the answer.
    pub give_up: Duration,
    /// The deadline of one call to the store.
    pub store: Duration,
    /// The deadline of one call to the publisher.
    pub publish: Duration,
    /// How long the answer to a command waits for the relay. `POST /relay` publishes the events that are
    /// not published by then.
    pub relay_patience: Duration,
    /// `POST /relay` ignores younger events, because their own request is publishing them.
    pub relay_after: Duration,
    /// `POST /relay` begins no publication after this.
    pub relay_budget: Duration,
    /// Pub/Sub redelivers a message without an answer
    /// [after this](https://cloud.google.com/pubsub/docs/lease-management).
    pub ack_deadline: Duration,
    /// Cloud Run cuts a request off after this.
    pub request_timeout: Duration,
    /// The shortest pause before Pub/Sub redelivers a message.
    pub min_backoff: Duration,
    /// The longest pause before Pub/Sub redelivers a message.
    pub max_backoff: Duration,
    /// After this many deliveries, Pub/Sub moves a message to the dead-letter topic. The default is the
    /// maximum: with the default back-off it gives a consumer that is down about 16 hours. A rejected message
    /// is moved at once; a failing one at delivery [`gives_up_at`](Self::gives_up_at).
    pub max_delivery_attempts: u32,
    /// How long a topic and its subscriptions keep a message.
    pub retention: Duration,
    /// How long a dead letter is kept. The default is Pub/Sub's maximum.
    pub dead_letter_retention: Duration,
    /// The longest time between an event's staging and its publication by a timer. Cloud Tasks keeps a task for
    /// [31 days](https://cloud.google.com/tasks/docs/quotas), so that a due task can be retried for two.
    pub timer_horizon: Duration,
    /// How long a receipt is kept: as long as its message can come back. Its last delivery can be at the
    /// end of the topic's retention. Then it can be replayed at the end of the dead letter's retention,
    /// and wait once more for the topic's.
    pub receipt_retention: Duration,
}

const DAY: u64 = 24 * 60 * 60;

impl Timing {
    /// The values of a service that sets none.
    pub const DEFAULT: Self = Self {
        handler: Duration::from_secs(15),
        claim: Duration::from_secs(12),
        call: Duration::from_secs(8),
        call_cut_off: Duration::from_secs(9),
        completion: Duration::from_secs(4),
        lease: Duration::from_secs(20),
        claim_patience: Duration::from_secs(6),
        keep_trying: Duration::from_secs(60),
        command: Duration::from_secs(5),
        request: Duration::from_secs(20),
        body: Duration::from_secs(10),
        push: Duration::from_secs(29),
        give_up: Duration::from_millis(800),
        store: Duration::from_secs(4),
        publish: Duration::from_secs(4),
        relay_patience: Duration::from_secs(1),
        relay_after: Duration::from_secs(10),
        relay_budget: Duration::from_secs(12),
        ack_deadline: Duration::from_secs(30),
        request_timeout: Duration::from_secs(60),
        min_backoff: Duration::from_secs(10),
        max_backoff: Duration::from_secs(600),
        max_delivery_attempts: 100,
        retention: Duration::from_secs(7 * DAY),
        dead_letter_retention: Duration::from_secs(31 * DAY),
        timer_horizon: Duration::from_secs(29 * DAY),
        receipt_retention: Duration::from_secs(45 * DAY),
    };

    /// From this delivery on, the runtime itself moves a message that it fails on to the dead-letter topic. Pub/Sub
    /// would keep neither the reason nor the message's id. The deliveries after it are for a dead-letter topic or a
    /// store that does not answer.
    #[must_use]
    pub const fn gives_up_at(&self) -> u32 {
        self.max_delivery_attempts - self.max_delivery_attempts / 20
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// Returns the first rule that does not hold.
    pub const fn check(&self) -> Result<(), &'static str> {
        const fn millis(duration: Duration) -> u128 {
            duration.as_millis()
        }
        let call_and_completion = millis(self.call_cut_off) + millis(self.completion);
        let effect = millis(self.claim) + call_and_completion;
        let relay = millis(self.relay_budget) + millis(self.publish) + millis(self.store);
        if millis(self.handler) >= millis(self.lease) {
            return Err("handler < lease");
        }
        if millis(self.lease) >= millis(self.ack_deadline) {
            return Err("lease < ack deadline");
        }
        if millis(self.ack_deadline) > millis(self.request_timeout) {
            return Err("ack deadline <= request timeout");
        }
        if millis(self.store) >= millis(self.handler) {
            return Err("store < handler");
        }
        if millis(self.publish) >= millis(self.handler) {
            return Err("publish < handler");
        }
        if millis(self.call) >= millis(self.call_cut_off) {
            return Err("call < call cut-off");
        }
        if millis(self.claim_patience) + call_and_completion >= millis(self.lease) {
            return Err("claim patience + call cut-off + completion < lease");
        }
        // A rejected message is published after its handler has ended.
        if millis(self.handler) + millis(self.publish) > millis(self.push) {
            return Err("handler + publish <= push");
        }
        if effect + millis(self.publish) > millis(self.push) {
            return Err("claim + call cut-off + completion + publish <= push");
        }
        if millis(self.push) + millis(self.give_up) >= millis(self.ack_deadline) {
            return Err("push + give up < ack deadline");
        }
        if millis(self.body) > millis(self.request) || millis(self.body) > millis(self.push) {
            return Err("body <= request and push");
        }
        if millis(self.command) + millis(self.relay_patience) > millis(self.request) {
            return Err("command + relay patience <= request");
        }
        if relay > millis(self.request) {
            return Err("relay budget + publish + store <= request");
        }
        // <https://cloud.google.com/pubsub/docs/handling-failures>
        if self.max_delivery_attempts < 5 || self.max_delivery_attempts > 100 {
            return Err("5 <= delivery attempts <= 100");
        }
        if millis(self.timer_horizon) > millis(Duration::from_secs(29 * DAY)) {
            return Err("timer horizon <= 29 days");
        }
        if millis(self.receipt_retention) < 2 * millis(self.retention) + millis(self.dead_letter_retention) {
            return Err("receipt retention >= 2 * retention + dead-letter retention");
        }
        Ok(())
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = assert!(Timing::DEFAULT.check().is_ok(), "the defaults fit together");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_gives_up_before_pubsub_does() {
        for (most, gives_up_at) in [(100, 95), (20, 19), (5, 5)] {
            assert_eq!(Timing { max_delivery_attempts: most, ..Timing::DEFAULT }.gives_up_at(), gives_up_at);
        }
    }

    #[test]
    fn values_that_do_not_fit_together_are_refused() {
        let seconds = Duration::from_secs;
        for (rule, change) in [
            ("handler < lease", (|timing| timing.handler = Duration::from_secs(20)) as fn(&mut Timing)),
            ("lease < ack deadline", |timing| timing.lease = Duration::from_secs(30)),
            ("claim patience + call cut-off + completion < lease", |timing| {
                timing.claim_patience = Duration::from_secs(7);
            }),
            ("push + give up < ack deadline", |timing| timing.give_up = Duration::from_secs(1)),
            ("5 <= delivery attempts <= 100", |timing| timing.max_delivery_attempts = 4),
            ("timer horizon <= 29 days", |timing| timing.timer_horizon = Duration::from_secs(30 * DAY)),
        ] {
            let mut timing = Timing::DEFAULT;
            change(&mut timing);
            assert_eq!(timing.check(), Err(rule));
        }
        assert_eq!(Timing { lease: seconds(21), ..Timing::DEFAULT }.check(), Ok(()));
    }
}
