//! The leases on dead letters.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use catalog::{Catalog, ServiceEntry};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, join_all, pending},
};
use pushbox::{Clock, Message, publisher::PublishError, publisher::Publisher};
use tokio::time::{Instant, sleep};

use crate::{CallError, Letter, Pulled, Receipts, Subscriber};

/// A letter that is not renewed goes back to its holder after this. It is also the longest time for which a process that
/// dies hides letters.
const LEASE: Duration = Duration::from_secs(60);

/// Leases are renewed this often.
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// The most messages of one pull.
const PULL: usize = 250;

/// The number of holders that are read at the same time. An answer has at most 10 MB.
const PULLS_AT_ONCE: usize = 8;

/// A holder counts as read after this many empty answers in a row. Pub/Sub may give fewer messages than there are.
const EMPTY_ANSWERS: u32 = 3;

/// The pause after an empty answer.
const PAUSE: Duration = Duration::from_millis(200);

/// The most letters that a desk holds.
pub const MOST_LETTERS: usize = 10_000;

/// The most bytes of their data.
const MOST_BYTES: usize = 256 << 20;

/// A person's hold on the dead letters of all services. As long as the desk has a letter, nobody else gets it. A process
/// that dies loses its hold after a minute.
pub struct Desk {
    subscriber: Arc<dyn Subscriber>,
    publisher: Arc<dyn Publisher>,
    pub(crate) receipts: Receipts,
    pub(crate) clock: Clock,
    names: Names,
    services: Vec<ServiceEntry>,
    leases: BTreeMap<LetterId, Lease>,
    bytes: usize,
    renewed: Instant,
    stop: Shared<BoxFuture<'static, ()>>,
}

/// The holder and the message id.
type LetterId = (String, String);

struct Lease {
    ack_id: String,
    bytes: usize,
}

/// The names of a deployment's resources.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The project.
    pub project: String,
    /// What the names of its topics and subscriptions begin with.
    pub prefix: String,
}

impl Names {
    /// The full name of a subscription.
    #[must_use]
    pub fn subscription(&self, short: &str) -> String {
        format!("projects/{}/subscriptions/{}{short}", self.project, self.prefix)
    }

    /// The short name of a subscription that is given by its full name.
    pub(crate) fn short<'a>(&self, full: &'a str) -> &'a str {
        let name = full.rsplit('/').next().unwrap_or_default();
        name.strip_prefix(&self.prefix).unwrap_or(name)
    }
}

impl Desk {
    /// An empty desk for the services of the catalog, or for one of them.
    pub fn new(
        catalog: &Catalog,
        only: Option<&str>,
        names: Names,
        subscriber: Arc<dyn Subscriber>,
        publisher: Arc<dyn Publisher>,
        receipts: Receipts,
        clock: Clock,
    ) -> Self {
        let services = catalog.services.iter().filter(|entry| only.is_none_or(|only| entry.name == only));
        // A service without subscriptions gets no messages.
        let services = services.filter(|entry| !entry.subscriptions.is_empty()).cloned().collect();
        Self {
            subscriber,
            publisher,
            receipts,
            clock,
            names,
            services,
            leases: BTreeMap::new(),
            bytes: 0,
            renewed: Instant::now(),
            stop: pending().boxed().shared(),
        }
    }

    /// The same desk. When the future ends, whatever the desk does stops early, and the letters stay on the desk.
    #[must_use]
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = stop.boxed().shared();
        self
    }

    /// Ends when the desk is told to stop.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stop.clone()
    }

    /// Whether the desk is told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped().now_or_never().is_some()
    }

    /// Leases all letters that nobody else has, and returns them, the oldest first.
    ///
    /// # Errors
    /// If Pub/Sub does not answer. The desk keeps what it has.
    pub async fn gather(&mut self) -> Result<Vec<Letter>, CallError> {
        let mut letters = Vec::new();
        self.pull(self.services.clone(), EMPTY_ANSWERS, &mut letters).await?;
        letters.sort_by(|a, b| (a.parked_at, &a.id).cmp(&(b.parked_at, &b.id)));
        Ok(letters)
    }

    /// Leases the letters that have come since, without patience. After an error, there may be letters all the same.
    pub(crate) async fn arrivals(
        &mut self,
        service: &str,
        letters: &mut Vec<Letter>,
    ) -> Result<(), CallError> {
        let of_service = self.services.iter().filter(|entry| entry.name == service).cloned().collect();
        self.pull(of_service, 1, letters).await
    }

    /// Whether it can hold no more letters. Then there may be more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.leases.len() >= MOST_LETTERS || self.bytes >= MOST_BYTES
    }

    /// Pulls from the holders in turns, until each has given this many empty answers in a row.
    async fn pull(
        &mut self,
        services: Vec<ServiceEntry>,
        patience: u32,
        letters: &mut Vec<Letter>,
    ) -> Result<(), CallError> {
        let (all, mut missing) = (services.len(), 0);
        let mut open: Vec<(ServiceEntry, u32)> = services.into_iter().map(|service| (service, 0)).collect();
        loop {
            for turn in open.chunks_mut(PULLS_AT_ONCE) {
                if self.is_full() || self.is_stopped() {
                    return Ok(());
                }
                self.tend().await;
                let pulls =
                    turn.iter().map(|(service, _)| self.subscriber.pull(&service.dead_letter_topic, PULL));
                let pulled = join_all(pulls).await;
                let mut failed = None;
                for ((service, empty), pulled) in turn.iter_mut().zip(pulled) {
                    match pulled {
                        Ok(pulled) => {
                            let has_new = self.take(service, pulled, letters).await;
                            *empty = if has_new { 0 } else { *empty + 1 };
                        }
                        // A service that is not deployed has no letters. If all are missing, the names are wrong.
                        Err(error) if error.is_missing && missing + 1 < all => {
                            tracing::warn!(%error, "{} is left out", service.name);
                            missing += 1;
                            *empty = patience;
                        }
                        // The letters of the other holders are leased, so the desk must know them.
                        Err(error) => failed = Some(error),
                    }
                }
                failed.map_or(Ok(()), Err)?;
            }
            open.retain(|(_, empty)| *empty < patience);
            if open.is_empty() {
                return Ok(());
            }
            // An answer may be empty because the holder needs a moment.
            if open.iter().any(|(_, empty)| *empty > 0) {
                sleep(PAUSE).await;
            }
        }
    }

    /// Leases what was pulled, and tells whether it contains new letters.
    async fn take(&mut self, service: &ServiceEntry, pulled: Vec<Pulled>, letters: &mut Vec<Letter>) -> bool {
        let holder = &service.dead_letter_topic;
        let ack_ids: Vec<String> = pulled.iter().map(|message| message.ack_id.clone()).collect();
        let mut has_new = false;
        for message in pulled {
            let (bytes, ack_id) = (message.data.len(), message.ack_id.clone());
            let lease = Lease { ack_id, bytes };
            // A letter whose lease has ended comes again.
            let before = self.leases.insert((holder.clone(), message.message_id.clone()), lease);
            if before.is_none() {
                has_new = true;
                self.bytes += bytes;
                letters.push(Letter::of(service, &self.names, message));
            }
        }
        if !ack_ids.is_empty() {
            // The holder's own deadline may be shorter or much longer.
            self.extend(holder, &ack_ids).await;
        }
        has_new
    }

    /// Renews the leases if it is time. To be called at least every 15 seconds.
    pub(crate) async fn tend(&mut self) {
        if self.renewed.elapsed() < RENEW_EVERY {
            return;
        }
        self.renewed = Instant::now();
        for (holder, ack_ids) in self.by_holder() {
            self.extend(&holder, &ack_ids).await;
        }
    }

    /// If it fails, the letters go back to their holder early. Then another person may replay them, too, and the receipt
    /// drops the second replay.
    async fn extend(&self, holder: &str, ack_ids: &[String]) {
        if let Err(error) = self.subscriber.lease(holder, ack_ids, LEASE).await {
            tracing::warn!(%error, "the leases of dead letters are not renewed");
        }
    }

    fn by_holder(&self) -> BTreeMap<String, Vec<String>> {
        let mut ids = BTreeMap::<String, Vec<String>>::new();
        for ((holder, _), lease) in &self.leases {
            ids.entry(holder.clone()).or_default().push(lease.ack_id.clone());
        }
        ids
    }

    /// Keeps the leases for as long as the future is polled.
    pub async fn keep(&mut self) -> std::convert::Infallible {
        loop {
            self.tend().await;
            sleep(RENEW_EVERY).await;
        }
    }

    /// Waits, and keeps the leases. It ends at once when the desk is told to stop.
    pub(crate) async fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            self.tend().await;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(left.min(RENEW_EVERY)) => {}
                () = self.stopped() => return,
            }
        }
    }

    pub(crate) async fn publish(&self, message: Message) -> Result<(), PublishError> {
        self.publisher.publish(message).await.map(drop)
    }

    /// Removes letters of one holder. If this fails, they may stay, and come again after their lease.
    pub(crate) async fn remove(&mut self, letters: &[&Letter]) -> Result<(), CallError> {
        let Some(first) = letters.first() else { return Ok(()) };
        let ids = letters.iter().map(|letter| (letter.holder.clone(), letter.id.clone()));
        let leases: Vec<Lease> = ids.filter_map(|id| self.leases.remove(&id)).collect();
        self.bytes -= leases.iter().map(|lease| lease.bytes).sum::<usize>();
        let ack_ids: Vec<String> = leases.into_iter().map(|lease| lease.ack_id).collect();
        self.subscriber.acknowledge(&first.holder, &ack_ids).await
    }

    /// Gives all letters back.
    pub async fn close(self) {
        for (holder, ack_ids) in self.by_holder() {
            if let Err(error) = self.subscriber.lease(&holder, &ack_ids, Duration::ZERO).await {
                tracing::warn!(%error, "dead letters stay hidden for a minute");
            }
        }
    }
}
