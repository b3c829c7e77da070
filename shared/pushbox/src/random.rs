//! The source of ids.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random numbers that nobody can guess, or that a test can repeat.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> u128 + Send + Sync>);

impl Random {
    /// A cryptographic generator of this thread, which the operating system's source seeds.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| uuid::Uuid::new_v4().as_u128()))
    }

    /// The same numbers for the same seed. It is for tests only, because the numbers can be computed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let generator = Mutex::new(fastrand::Rng::with_seed(seed));
        Self(Arc::new(move || generator.lock().unwrap_or_else(PoisonError::into_inner).u128(..)))
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn nonce(&self) -> String {
        format!("{:032x}", (self.0)())
    }
}
