//! The times of a payment. They fit together with the runtime's deadlines.

use std::time::Duration;

use jiff::SignedDuration;
use pushbox::Timing;

/// A charge begins only if the order has at least this much time left. It covers the claim and the call.
pub(crate) const LEAST_TIME_TO_PAY: SignedDuration = SignedDuration::from_secs(20);

/// An order waits for this long after its deadline, for a charge that is on its way. It covers the push in which
/// the charge is recorded.
pub(crate) const GRACE: SignedDuration = SignedDuration::from_secs(30);

const _: () = {
    const fn covers(time: SignedDuration, deadline: Duration) -> bool {
        time.as_millis() >= deadline.as_millis() as i128
    }
    let Timing { claim, call, push, .. } = Timing::DEFAULT;
    assert!(covers(LEAST_TIME_TO_PAY, claim.saturating_add(call)), "a charge ends before the deadline");
    assert!(covers(GRACE, push), "the news of a charge arrives within the grace");
};
