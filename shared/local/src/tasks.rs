//! Cloud Tasks in this process.
//!
//! [`Queues`] implements the rules, without a clock or a socket. [`Tasks`] is the handle through which services set
//! timers. `rest` is the API of Cloud Tasks, and `dispatch` the loop that carries tasks out.

mod dispatch;
mod queues;
mod rest;
#[cfg(test)]
mod tests;

pub use queues::{Due, Queues, Refused, Task, Work};

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use axum::Router;
use catalog::Catalog;
use jiff::Timestamp;
use pushbox::{
    ServiceName,
    publisher::Publisher,
    timers::{Timer, TimerError, Timers},
    wire,
};
use tokio::sync::Notify;

/// The queues of a catalog. A clone is another handle to the same queues.
#[derive(Clone)]
pub struct Tasks(Arc<Shared>);

struct Shared {
    queues: Mutex<Queues>,
    /// Publishes the timers of this process.
    publisher: Arc<dyn Publisher>,
    /// Notified when the next task may be due earlier than before.
    changed: Notify,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Tasks {
    /// The queues of the catalog's services, all empty. The timers of this process publish through `publisher`.
    #[must_use]
    pub fn new(catalog: &Catalog, publisher: Arc<dyn Publisher>) -> Self {
        Self::with_clock(catalog, publisher, Timestamp::now)
    }

    /// Like [`Tasks::new`], with a clock that a test controls.
    pub fn with_clock(
        catalog: &Catalog,
        publisher: Arc<dyn Publisher>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let queues = Mutex::new(Queues::of(catalog));
        Self(Arc::new(Shared { queues, publisher, changed: Notify::new(), now: Box::new(now) }))
    }

    /// The REST API of Cloud Tasks.
    pub fn app(&self) -> Router {
        rest::router(self.clone())
    }

    /// Carries out due tasks until the future is dropped. Without it, no timer fires.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub async fn run(self) -> Result<Infallible, reqwest::Error> {
        dispatch::run_all(self).await
    }

    /// Reads or changes the queues at the present time. Tasks that become due are carried out at once.
    pub fn with<T>(&self, act: impl FnOnce(&mut Queues, Timestamp) -> T) -> T {
        let result = self.act(act);
        self.0.changed.notify_one();
        result
    }

    /// Like [`Tasks::with`], but does not wake the loop that carries tasks out.
    fn act<T>(&self, act: impl FnOnce(&mut Queues, Timestamp) -> T) -> T {
        // No code panics between two changes of the queues, so poisoned queues are still consistent.
        act(&mut self.0.queues.lock().unwrap_or_else(PoisonError::into_inner), (self.0.now)())
    }
}

#[async_trait]
impl Timers for Tasks {
    async fn set(&self, Timer { service, id, at, message }: Timer) -> Result<(), TimerError> {
        let queue = wire::timer_queue(service);
        let work = Work::Publish(message);
        match self.with(|queues, now| queues.create(&queue, Some(&id), at, work, now).map(drop)) {
            Ok(()) | Err(Refused::Exists(_)) => Ok(()),
            Err(refused) => Err(TimerError { service, reason: refused.to_string() }),
        }
    }

    async fn cancel(&self, service: ServiceName, id: &str) -> Result<(), TimerError> {
        match self.with(|queues, _| queues.delete(&wire::timer_queue(service), id)) {
            Ok(()) | Err(Refused::UnknownTask(_)) => Ok(()),
            Err(refused) => Err(TimerError { service, reason: refused.to_string() }),
        }
    }
}
