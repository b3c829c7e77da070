//! Faults of the broker that a person can turn on. Pub/Sub may do all of this at any time.

use std::time::Duration;

use serde::Serialize;

/// The faults that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Faults {
    /// Each message is delivered twice, at the same time.
    pub(crate) duplicate: bool,
    /// Messages overtake each other: each waits for up to two seconds.
    pub(crate) reorder: bool,
    /// The first ack of each message is lost, so the message is delivered again.
    pub(crate) drop_acks: bool,
}

impl Faults {
    /// One word for each fault that is on.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let Self { duplicate, reorder, drop_acks } = self;
        let all = [(duplicate, "duplicates"), (reorder, "reorders"), (drop_acks, "loses acks")];
        all.into_iter().filter_map(|(is_on, word)| is_on.then_some(word)).collect()
    }

    pub(super) fn copies(self) -> u8 {
        if self.duplicate { 2 } else { 1 }
    }

    /// The pause before the first delivery. It is different for neighbours, and the same in each run.
    pub(super) fn pause(self, number: u64, copy: u8) -> Duration {
        let late = if self.reorder {
            Duration::from_millis(number.wrapping_mul(997) % 2_000)
        } else {
            Duration::ZERO
        };
        // Two messages of a subscription are never due at the same microsecond.
        late + Duration::from_micros(copy.into())
    }
}
