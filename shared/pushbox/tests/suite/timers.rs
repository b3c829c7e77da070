//! Timers with faults.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use pushbox::{
    ServiceName,
    timers::{Timer, TimerError, Timers},
};

use super::Refusal;

/// Timers that record their calls, and inject refusals.
#[derive(Default)]
pub struct RecordedTimers {
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    set: Vec<Timer>,
    cancelled: Vec<String>,
    refusals: VecDeque<Refusal>,
}

impl RecordedTimers {
    /// Injects these refusals into the next calls, one each.
    pub fn next(&self, refusals: &[Refusal]) {
        self.calls().refusals.extend(refusals);
    }

    pub fn set(&self) -> Vec<Timer> {
        self.calls().set.clone()
    }

    /// The only timer that was set.
    pub fn only(&self) -> Timer {
        let mut set = self.set();
        assert_eq!(set.len(), 1, "{set:?}");
        set.remove(0)
    }

    pub fn cancelled(&self) -> Vec<String> {
        self.calls().cancelled.clone()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().expect("a lock")
    }

    async fn refuse(&self, service: ServiceName) -> Result<(), TimerError> {
        let refusal = self.calls().refusals.pop_front().unwrap_or(Refusal::None);
        match refusal {
            Refusal::None => Ok(()),
            Refusal::Fails => Err(TimerError { service, reason: "injected".to_owned() }),
            Refusal::Hangs => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Timers for RecordedTimers {
    async fn set(&self, timer: Timer) -> Result<(), TimerError> {
        self.refuse(timer.service).await?;
        self.calls().set.push(timer);
        Ok(())
    }

    async fn cancel(&self, service: ServiceName, id: &str) -> Result<(), TimerError> {
        self.refuse(service).await?;
        self.calls().cancelled.push(id.to_owned());
        Ok(())
    }
}
