//! The source of time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

/// A source of time that a test can drive.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that starts at `start` and follows tokio's clock, which a test can pause.
    #[must_use]
    pub fn following_tokio(start: Timestamp) -> Self {
        let began = tokio::time::Instant::now();
        Self(Arc::new(move || start.saturating_add(began.elapsed()).unwrap_or(start)))
    }

    /// The machine's clock, moved by an offset that can change.
    #[must_use]
    pub fn moved_by(offset: Offset) -> Self {
        Self(Arc::new(move || Timestamp::now().saturating_add(offset.get()).unwrap_or(Timestamp::MAX)))
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// How far a clock is ahead of the machine's. A clone is another handle to the same offset.
#[derive(Clone, Default)]
pub struct Offset(Arc<AtomicI64>);

impl Offset {
    /// The offset.
    #[must_use]
    pub fn get(&self) -> SignedDuration {
        SignedDuration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// Changes the offset.
    pub fn set(&self, offset: SignedDuration) {
        let micros = i64::try_from(offset.as_micros()).unwrap_or(i64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}
