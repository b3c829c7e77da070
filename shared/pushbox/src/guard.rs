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

/// Runs a future until the deadline, and catches its panic. It is no `async fn`, because that would hold the future
/// twice: as its argument, and where it runs.
pub(crate) fn guard<T>(
    deadline: Instant,
    future: impl Future<Output = T>,
) -> impl Future<Output = Guarded<T>> {
    timeout_at(deadline, AssertUnwindSafe(future).catch_unwind()).map(|ended| match ended {
        Ok(Ok(output)) => Guarded::Done(output),
        Ok(Err(panic)) => Guarded::Panicked(panic),
        Err(_) => Guarded::Late,
    })
}
