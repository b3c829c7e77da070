//! Work that continues when its caller hangs up.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Runs a future in place. If this is dropped before the future's end, the future continues in the
/// background.
pub(crate) struct DetachOnDrop<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    background: TaskTracker,
}

impl<T: Send + 'static> DetachOnDrop<T> {
    pub(crate) fn new(background: &TaskTracker, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(future.boxed()), background: background.clone() }
    }
}

impl<T: Send + 'static> Future for DetachOnDrop<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // A future that panics is not put back, because it must not be polled again.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let polled = future.poll_unpin(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for DetachOnDrop<T> {
    fn drop(&mut self) {
        // Without a runtime, the process is about to end.
        if let (Some(future), Ok(_)) = (self.future.take(), Handle::try_current()) {
            self.background.spawn(future.map(drop));
        }
    }
}
