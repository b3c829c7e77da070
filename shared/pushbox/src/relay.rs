//! The relay: it publishes what a commit has staged, at once or later.

use std::sync::{Mutex, PoisonError};

use futures::{
    StreamExt,
    future::{join, join_all, try_join_all},
    stream,
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    Failure, Path, Ports, Runtime,
    message::{Outbox, Outgoing},
    receipt::{self, Receipt},
    store::{Precondition, Query, RECEIPTS, Stored, Version, Write},
};

/// The number of receipts that are relayed at the same time.
const RELAYS_AT_ONCE: usize = 100;

/// The number of receipts that are listed at once.
const RELAY_PAGE: usize = 200;

/// The answer to `POST /relay`.
#[derive(Default, Serialize)]
pub(crate) struct Relayed {
    pub(crate) events: usize,
    pub(crate) failed: usize,
}

impl Runtime {
    /// Publishes the events of an outbox, sets its timers, and cancels timers. A failed cancellation is only logged:
    /// the timer fires, and the handler of its event changes nothing.
    pub(crate) async fn relay(&self, outbox: &Outbox) -> Result<(), Failure> {
        let cancel = async |id: &String| {
            let Some(timers) = &self.ports().timers else { return };
            if let Err(error) = timers.cancel(self.name(), id).await {
                tracing::warn!(%error, "a timer is not cancelled");
            }
        };
        let send = try_join_all(outbox.events.iter().map(|event| self.send(event)));
        let (sent, _) = join(send, join_all(outbox.cancels.iter().map(cancel))).await;
        sent.map(drop)
    }

    async fn send(&self, event: &Outgoing) -> Result<(), Failure> {
        let Ports { publisher, timers, .. } = self.ports();
        match (event.timer(self.name()), timers) {
            (None, _) => publisher.publish(event.clone().into()).await.map(drop)?,
            (Some(timer), Some(timers)) => timers.set(timer).await?,
            // A receipt of an earlier release, which delayed events.
            (Some(_), None) => return Err(Failure::Retry("there are no timers to set".to_owned())),
        }
        Ok(())
    }

    /// Publishes the events of a command. Then it clears the mark in the receipt, in the background.
    pub(crate) async fn relay_command(
        &self,
        path: Path,
        receipt: Receipt,
        version: Version,
    ) -> Result<(), Failure> {
        self.ports().crash.point("committed").await;
        self.relay(receipt.outbox()).await?;
        let runtime = self.clone();
        self.ports().background.spawn(async move { runtime.clear(&path, receipt, version).await });
        Ok(())
    }

    /// Clears the mark of a receipt whose events are published. If this fails, the next `POST /relay`
    /// publishes them once more and clears it.
    async fn clear(&self, path: &Path, receipt: Receipt, version: Version) {
        let clear = async {
            let change = receipt.without_mark().to_change()?;
            let write = Write { path: path.clone(), change, only_if: Precondition::At(version) };
            self.ports().store.commit(&[write]).await?;
            Ok(())
        };
        if let Err(Failure::Retry(error) | Failure::Reject(error)) = clear.await {
            tracing::warn!(error, "the receipt stays pending, so its events are published again");
        }
    }

    /// Publishes the events of the receipts that have been pending for
    /// [`relay_after`](Timing::relay_after). It ends within the request's deadline.
    pub(crate) async fn relay_all_pending(&self) -> Result<Relayed, Failure> {
        let relaying = Relaying { runtime: self, began: Instant::now(), relayed: Mutex::default() };
        let (first, is_last) = relaying.page("").await?;
        if is_last {
            relaying.relay_each(first).await;
        } else {
            // It begins at a random place, so that events that cannot be published do not hold back the
            // others.
            let start = self.ports().random.nonce();
            relaying.between(&start, None).await?;
            relaying.between("", Some(&start)).await?;
        }
        Ok(relaying.relayed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One call of `POST /relay`.
struct Relaying<'a> {
    runtime: &'a Runtime,
    began: Instant,
    relayed: Mutex<Relayed>,
}

impl Relaying<'_> {
    /// Relays the receipts with ids after the first and up to the last.
    async fn between(&self, after: &str, until: Option<&str>) -> Result<(), Failure> {
        let mut after = after.to_owned();
        while !self.is_late() {
            let (mut found, is_last) = self.page(&after).await?;
            if let Some(last) = found.last() {
                after.clone_from(&last.id);
            }
            found.retain(|stored| until.is_none_or(|until| stored.id.as_str() <= until));
            self.relay_each(found).await;
            if is_last || until.is_some_and(|until| after.as_str() >= until) {
                break;
            }
        }
        Ok(())
    }

    /// Lists pending receipts, and says whether there are no more.
    async fn page(&self, after: &str) -> Result<(Vec<Stored>, bool), Failure> {
        let query = Query {
            collection: Path::collection_of(self.runtime.name(), RECEIPTS),
            filters: vec![(receipt::PENDING, true.into())],
            after: Some(after.to_owned()),
            limit: RELAY_PAGE,
        };
        let found = self.runtime.ports().store.list(&query).await?;
        let is_last = found.len() < query.limit;
        Ok((found, is_last))
    }

    async fn relay_each(&self, receipts: Vec<Stored>) {
        stream::iter(receipts).for_each_concurrent(RELAYS_AT_ONCE, |stored| self.relay(stored)).await;
    }

    async fn relay(&self, stored: Stored) {
        if stored.age < self.runtime.timing().relay_after || self.is_late() {
            return;
        }
        let path = Path::new(self.runtime.name(), RECEIPTS, &stored.id);
        let (events, result) = match Receipt::of(stored.fields) {
            Ok(receipt) => {
                (receipt.outbox().events.len(), self.publish(&path, receipt, stored.version).await)
            }
            Err(error) => (1, Err(error.into())),
        };
        let mut relayed = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => relayed.events += events,
            Err(Failure::Retry(error) | Failure::Reject(error)) => {
                tracing::warn!(error, "events stay pending");
                relayed.failed += events;
            }
        }
    }

    /// Clears the mark before the response is sent, because Cloud Run may give no CPU after it.
    async fn publish(&self, path: &Path, receipt: Receipt, version: Version) -> Result<(), Failure> {
        self.runtime.relay(receipt.outbox()).await?;
        self.runtime.clear(path, receipt, version).await;
        Ok(())
    }

    fn is_late(&self) -> bool {
        self.began.elapsed() >= self.runtime.timing().relay_budget
    }
}
