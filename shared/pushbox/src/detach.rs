//! Work that continues when its caller hangs up.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::Failure;

/// Runs a future in place. If this is dropped before the future's end, the future continues in the
/// background.
pub(crate) struct DetachOnDrop {
    future: Option<BoxFuture<'static, Result<(), Failure>>>,
    background: TaskTracker,
}

impl DetachOnDrop {
    pub(crate) fn new(
        background: &TaskTracker,
        future: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) -> Self {
        Self { future: Some(future.boxed()), background: background.clone() }
    }
}

impl Future for DetachOnDrop {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A future that panics is not put back, because it must not be polled again.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let polled = future.poll_unpin(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl Drop for DetachOnDrop {
    fn drop(&mut self) {
        // Without a runtime, the process is about to end.
        if let (Some(future), Ok(_)) = (self.future.take(), Handle::try_current()) {
            self.background.spawn(future.map(|result| {
                if let Err(Failure::Retry(reason) | Failure::Reject(reason)) = result {
                    tracing::warn!(reason, "an effect failed after its caller hung up");
                }
            }));
        }
    }
}
