//! How far a service has come with an event.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use pushbox::{
    Clock,
    letters::{Progress, progress},
    store::Store,
};

use crate::LocalStack;

/// Where receipts are read.
#[derive(Clone)]
pub enum Receipts {
    /// The store of a project or of the emulator.
    Store(Arc<dyn Store>, Clock),
    /// A local stack, whose store may be in its process.
    LocalStack(LocalStack),
}

impl Receipts {
    /// Reads the receipt with this id.
    pub(crate) async fn progress(&self, service: &str, receipt: &str) -> Result<Progress, String> {
        match self {
            Self::Store(store, clock) => {
                progress(&**store, service, receipt, clock.now()).await.map_err(|error| error.to_string())
            }
            Self::LocalStack(stack) => stack.progress(service, receipt).await,
        }
    }
}

/// A call that may have been made longer ago than this is repeated as a new one: Stripe forgets idempotency keys
/// [after 24 hours](https://docs.stripe.com/api/idempotent_requests).
pub(crate) const KEYS_ARE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a replay may repeat a call whose idempotency key is forgotten.
pub(crate) fn may_call_twice(progress: Progress, now: Timestamp) -> bool {
    let Progress::Claimed { may_have_called_since: Some(since) } = progress else { return false };
    now.saturating_sub(KEYS_ARE_KEPT).is_ok_and(|forgotten| since < forgotten)
}
