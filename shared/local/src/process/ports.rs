//! The ports of one incarnation of a service. After its end they refuse every call, so that work that still goes on in
//! the background has no effect.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pushbox::{
    Crash, Message, Path, Ports, ServiceName,
    publisher::{PublishError, Publisher},
    store::{CommitError, Query, Store, StoreError, Stored, Version, Write},
    timers::{Timer, TimerError, Timers},
};

use super::{Faults, lock};

const KILLED: &str = "the service was killed";

/// These ports, until `crash` happens, with the faults of the service.
pub(super) fn mortal(ports: &Ports, faults: &Arc<Mutex<Faults>>, crash: &Crash) -> Ports {
    let mut mortal = ports.clone();
    let crash = crash.clone();
    mortal.store =
        Arc::new(MortalStore { inner: ports.store.clone(), faults: faults.clone(), crash: crash.clone() });
    mortal.publisher = Arc::new(MortalPublisher { inner: ports.publisher.clone(), crash: crash.clone() });
    mortal.timers = ports
        .timers
        .clone()
        .map(|inner| -> Arc<dyn Timers> { Arc::new(MortalTimers { inner, crash: crash.clone() }) });
    mortal.crash = crash;
    mortal
}

struct MortalStore {
    inner: Arc<dyn Store>,
    faults: Arc<Mutex<Faults>>,
    crash: Crash,
}

impl MortalStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.crash.has_happened() { Err(StoreError(KILLED.to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for MortalStore {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.check()?;
        self.inner.get(path).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        self.check().map_err(CommitError::Failed)?;
        if lock(&self.faults).refuse_commits {
            return Err(CommitError::Refused("a fault is on".to_owned()));
        }
        self.inner.commit(writes).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.check()?;
        self.inner.list(query).await
    }
}

struct MortalPublisher {
    inner: Arc<dyn Publisher>,
    crash: Crash,
}

#[async_trait]
impl Publisher for MortalPublisher {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        if self.crash.has_happened() {
            return Err(PublishError { topic: message.topic, reason: KILLED.to_owned() });
        }
        self.inner.publish(message).await
    }
}

struct MortalTimers {
    inner: Arc<dyn Timers>,
    crash: Crash,
}

impl MortalTimers {
    fn check(&self, service: ServiceName) -> Result<(), TimerError> {
        match self.crash.has_happened() {
            true => Err(TimerError { service, reason: KILLED.to_owned() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Timers for MortalTimers {
    async fn set(&self, timer: Timer) -> Result<(), TimerError> {
        self.check(timer.service)?;
        self.inner.set(timer).await
    }

    async fn cancel(&self, service: ServiceName, id: &str) -> Result<(), TimerError> {
        self.check(service)?;
        self.inner.cancel(service, id).await
    }
}
