//! The faults of a service.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use axum::extract::Request;

/// The longest delay that a person can set.
pub(crate) const MOST_LATENCY_MILLIS: u64 = 60_000;

/// The faults of a service that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Faults {
    /// Each request waits for this long before it is handled.
    pub(crate) latency_millis: u64,
    /// This share of the requests fails with 500.
    pub(crate) error_percent: u8,
    /// The store refuses every commit for good.
    pub(crate) refuse_commits: bool,
}

impl Faults {
    /// One text for each fault that is on.
    pub(crate) fn words(self) -> Vec<String> {
        let Self { latency_millis, error_percent, refuse_commits } = self;
        [
            (latency_millis > 0).then(|| format!("{latency_millis} ms slower")),
            (error_percent > 0).then(|| format!("{error_percent} % errors")),
            refuse_commits.then(|| "commits refused".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn latency(self) -> Duration {
        Duration::from_millis(self.latency_millis)
    }

    /// Whether this request fails.
    pub(super) fn fails(self, request: &Request) -> bool {
        if self.error_percent == 0 {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (Instant::now(), request.uri()).hash(&mut hasher);
        hasher.finish() % 100 < self.error_percent.into()
    }
}
