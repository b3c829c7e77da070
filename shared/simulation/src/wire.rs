//! A process's connection to the world. After the process has died, nothing gets through.

use std::{
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use local::{
    broker::Topics,
    tasks::{Queues, Refused, Work},
};
use pushbox::{
    Clock, Message, Path, ServiceName,
    publisher::{PublishError, Publisher},
    store::{CommitError, Memory, Query, Store, StoreError, Stored, Version, Write},
    timers::{Timer, TimerError, Timers},
    wire,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    choice::Choice,
    faults::{Fault, Step},
    ledger::{Ledger, Published, RequestId},
};

/// How long a slow step takes: just within its deadline.
const SLOW: Duration = Duration::from_secs(3);
const SLOW_CALL: Duration = Duration::from_secs(7);

/// A late commit is applied this long after its caller has given up.
const LATE: Duration = Duration::from_secs(2);

/// The state that all processes of a world share.
pub(crate) struct Shared {
    pub(crate) choice: Choice,
    pub(crate) clock: Clock,
    pub(crate) store: Memory,
    /// The store of the outside world.
    pub(crate) outside: Memory,
    topics: Mutex<Topics>,
    queues: Mutex<Queues>,
    ledger: Mutex<Ledger>,
    /// Notified when the next delivery may be due earlier than before, or has ended.
    pub(crate) changed: Notify,
    /// Notified when the next timer may be due earlier than before.
    pub(crate) timers_changed: Notify,
    /// Notified when a commit may have left something to relay.
    pub(crate) committed: Notify,
}

impl Shared {
    pub(crate) fn new(choice: Choice, clock: Clock, topics: Topics, queues: Queues) -> Self {
        Self {
            choice,
            store: Memory::new(clock.clone()),
            outside: Memory::new(clock.clone()),
            clock,
            topics: Mutex::new(topics),
            queues: Mutex::new(queues),
            ledger: Mutex::default(),
            changed: Notify::new(),
            timers_changed: Notify::new(),
            committed: Notify::new(),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Reads or changes the topics at the present time.
    pub(crate) fn topics<T>(&self, act: impl FnOnce(&mut Topics, Timestamp) -> T) -> T {
        act(&mut self.topics.lock().unwrap_or_else(PoisonError::into_inner), self.clock.now())
    }

    /// Reads or changes the timers at the present time.
    pub(crate) fn queues<T>(&self, act: impl FnOnce(&mut Queues, Timestamp) -> T) -> T {
        act(&mut self.queues.lock().unwrap_or_else(PoisonError::into_inner), self.clock.now())
    }

    fn set(&self, Timer { service, id, at, message }: Timer) -> Result<(), String> {
        let work = Work::Publish(message.clone());
        let queue = wire::timer_queue(service);
        match self.queues(|queues, now| queues.create(&queue, Some(&id), at, work, now).map(drop)) {
            Ok(()) => {
                self.ledger().timers.push(message);
                self.timers_changed.notify_one();
            }
            Err(Refused::Exists(_)) => {}
            Err(refused) => return Err(refused.to_string()),
        }
        Ok(())
    }

    pub(crate) fn accept(&self, message: Message) -> Result<String, String> {
        let id = self.topics(|topics, now| topics.publish(message.clone(), now));
        let id = id.map_err(|refused| refused.to_string())?;
        self.ledger().accepted(Published { id: id.clone(), message }, request());
        self.changed.notify_one();
        Ok(id)
    }

    pub(crate) async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        let result = self.store.commit(writes).await;
        if result.is_ok() {
            self.ledger().committed(writes, self.now());
            self.committed.notify_one();
        }
        result
    }
}

/// A process's connection to the world.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) shared: Arc<Shared>,
    pub(crate) service: Arc<str>,
    /// The service and the number of the process.
    pub(crate) process: Arc<str>,
    pub(crate) dead: CancellationToken,
}

/// The request that a task works for.
#[derive(Clone)]
pub(crate) struct InRequest {
    pub(crate) id: RequestId,
    pub(crate) hung_up: CancellationToken,
}

tokio::task_local! {
    pub(crate) static REQUEST: InRequest;
}

/// The number of the request that this task works for. `None` for background work.
pub(crate) fn request() -> Option<RequestId> {
    REQUEST.try_with(|request| request.id).ok()
}

/// Why a call has no result.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// It had no effect.
    NotApplied,
    /// It may have taken effect.
    Unknown,
    /// It will never take effect.
    Refused,
}

impl Wire {
    /// Carries out one step, with its fault if there is one.
    pub(crate) async fn io<T: Send + 'static>(
        &self,
        step: Step,
        what: impl Fn() -> String,
        io: impl Future<Output = T> + Send + 'static,
        trouble: fn(Trouble) -> T,
    ) -> T {
        self.stop_if_dead().await;
        let choice = &self.shared.choice;
        let fault = choice.fault(step, &self.service, request().is_some());
        choice.note(|| match fault {
            None => format!("{}: {}", self.process, what()),
            Some(fault) => format!("{}: {} [{fault:?}]", self.process, what()),
        });
        if let Some(id) = request() {
            self.shared.ledger().requests[id].took(step, fault);
        }
        let pause = choice.pause();
        self.advance(pause).await;
        let deadline = step.deadline().saturating_sub(pause);
        let slow = if step == Step::Call { SLOW_CALL } else { SLOW };
        match fault {
            Some(Fault::CrashBefore) => return self.crash().await,
            Some(Fault::Failed) => return trouble(Trouble::NotApplied),
            Some(Fault::Refused) => return trouble(Trouble::Refused),
            Some(Fault::Lost) => {
                self.advance(deadline).await;
                return trouble(Trouble::Unknown);
            }
            Some(Fault::Late) => {
                tokio::spawn(async move {
                    tokio::time::sleep(deadline + LATE).await;
                    io.await;
                });
                self.advance(deadline).await;
                return trouble(Trouble::Unknown);
            }
            Some(Fault::Slow) => self.advance((slow / 2).saturating_sub(pause)).await,
            _ => {}
        }
        let result = io.await;
        match fault {
            Some(Fault::CrashAfter) => return self.crash().await,
            Some(Fault::HangUp) => hang_up().await,
            Some(Fault::LostAnswer) => return trouble(Trouble::Unknown),
            Some(Fault::NoAnswer) => {
                self.advance(deadline).await;
                return trouble(Trouble::Unknown);
            }
            Some(Fault::Slow) => self.advance(slow / 2).await,
            _ => self.advance(choice.pause()).await,
        }
        result
    }

    /// Lets time pass. Never returns if the process has died.
    async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.stop_if_dead().await;
    }

    async fn stop_if_dead(&self) {
        if self.dead.is_cancelled() {
            pending::<()>().await;
        }
    }

    async fn crash<T>(&self) -> T {
        self.dead.cancel();
        pending().await
    }
}

/// Lets the caller hang up. This drops the request, except for its background work.
async fn hang_up() {
    let _ = REQUEST.try_with(|request| request.hung_up.cancel());
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn no_timer(_: Trouble) -> Result<(), TimerError> {
    Err(TimerError { service: "", reason: "no answer".to_owned() })
}

fn store_error(_: Trouble) -> StoreError {
    StoreError("no answer".to_owned())
}

#[async_trait]
impl Store for Wire {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        let (shared, wanted) = (self.shared.clone(), path.clone());
        let get = async move { shared.store.get(&wanted).await };
        self.io(Step::Get, || format!("get {path}"), get, |trouble| Err(store_error(trouble))).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        let (shared, all) = (self.shared.clone(), writes.to_vec());
        let commit = async move { shared.commit(&all).await };
        let what = || {
            let paths: Vec<String> = writes.iter().map(|write| write.path.to_string()).collect();
            format!("commit {}", paths.join(", "))
        };
        let committed = self.io(Step::Commit, what, commit, |trouble| Err(commit_error(trouble))).await;
        if let (Err(error), None) = (&committed, request()) {
            self.shared.ledger().failed_in_background(writes, error);
        }
        committed
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        let (shared, wanted) = (self.shared.clone(), query.clone());
        let list = async move { shared.store.list(&wanted).await };
        let what = || format!("list {}", query.collection);
        self.io(Step::List, what, list, |trouble| Err(store_error(trouble))).await
    }
}

pub(crate) fn commit_error(trouble: Trouble) -> CommitError {
    match trouble {
        Trouble::NotApplied => CommitError::Failed(store_error(trouble)),
        Trouble::Unknown => CommitError::Unknown(store_error(trouble)),
        Trouble::Refused => CommitError::Refused("simulated".to_owned()),
    }
}

#[async_trait]
impl Publisher for Wire {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let topic = message.topic.clone();
        let what = || format!("publish to {topic}");
        let shared = self.shared.clone();
        let publish = async move {
            let topic = message.topic.clone();
            shared.accept(message).map_err(|reason| PublishError { topic, reason })
        };
        let error = |_| Err(PublishError { topic: String::new(), reason: "no answer".to_owned() });
        self.io(Step::Publish, what, publish, error).await
    }
}

#[async_trait]
impl Timers for Wire {
    async fn set(&self, timer: Timer) -> Result<(), TimerError> {
        let (service, shared) = (timer.service, self.shared.clone());
        let what = || format!("set a timer for {}", timer.at);
        let wanted = timer.clone();
        let set = async move { shared.set(wanted).map_err(|reason| TimerError { service, reason }) };
        self.io(Step::Timer, what, set, no_timer).await
    }

    async fn cancel(&self, service: ServiceName, id: &str) -> Result<(), TimerError> {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        let cancel = async move {
            // A timer that does not exist counts as cancelled.
            let _ = shared.queues(|queues, _| queues.delete(&wire::timer_queue(service), &id));
            Ok(())
        };
        self.io(Step::Timer, || "cancel a timer".to_owned(), cancel, no_timer).await
    }
}
