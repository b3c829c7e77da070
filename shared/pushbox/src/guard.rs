//! The guard around code that may hang or panic.

use std::{any::Any, panic::AssertUnwindSafe};

use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

/// The end of a guarded future.
pub(crate) enum Guarded<T> {
    Done(T),
    /// The deadline passed. The future was dropped.
    Late,
    Panicked(Box<dyn Any + Send>),
}

/// Runs a future until the deadline, and catches its panic.
pub(crate) async fn guard<T>(deadline: Instant, future: impl Future<Output = T>) -> Guarded<T> {
    match timeout_at(deadline, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(output)) => Guarded::Done(output),
        Ok(Err(panic)) => Guarded::Panicked(panic),
        Err(_) => Guarded::Late,
    }
}
