//! The rules of queues and tasks, without a clock or I/O: the caller passes the time.
//!
//! The rules follow the documentation of Cloud Tasks. Three are left out: rate limits, the expiry of a task after 31
//! days, and the end of a queue's retries, because our queues retry without end.
//!
//! The memory is bounded: a queue keeps up to 100,000 tasks and the names of the last 100,000 tasks.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use catalog::Catalog;
use jiff::Timestamp;
use pushbox::{Message, wire, wire::attribute};

use crate::broker::after;

/// [The longest time](https://cloud.google.com/tasks/docs/quotas) between the creation of a task and its schedule time.
pub(crate) const HORIZON: Duration = Duration::from_secs(720 * 60 * 60);

/// The pause before the first retry, doubled for each further one, as in `terraform/timers.tf`.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// The most tasks of a queue, and the most names of tasks that it remembers.
const MOST: usize = 100_000;

/// All queues and their tasks.
#[derive(Default)]
pub struct Queues {
    queues: BTreeMap<String, Queue>,
    last_id: u64,
}

#[derive(Default)]
struct Queue {
    tasks: BTreeMap<String, Task>,
    /// The names of all tasks that ever were, the newest last. The real service forgets them after a time that its
    /// documents state in two ways, an hour and a day. Nothing may rely on either.
    used: BTreeSet<String>,
    order: VecDeque<String>,
}

/// A task that waits for its time, or for its retry.
#[derive(Clone, Debug)]
pub struct Task {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    /// The time of the next attempt.
    pub(crate) scheduled: Timestamp,
    pub(crate) work: Work,
    pub(crate) attempts: u32,
    is_running: bool,
}

/// What a task does.
#[derive(Clone, Debug)]
pub enum Work {
    /// It publishes a message. Services of this process set such timers.
    Publish(Message),
    /// It sends a request. Clients of the REST API create such tasks.
    Request {
        /// The method, such as `POST`.
        method: String,
        /// The URL.
        url: String,
        /// The headers.
        headers: BTreeMap<String, String>,
        /// The body.
        body: Bytes,
    },
}

/// A task that must be carried out now.
#[derive(Clone, Debug)]
pub struct Due {
    /// The queue.
    pub queue: String,
    /// The task.
    pub id: String,
    /// What it does.
    pub work: Work,
}

/// Why a call is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// There is no such queue.
    #[error("there is no queue {0}")]
    UnknownQueue(String),
    /// There is no such task, or it has ended.
    #[error("there is no task {0}")]
    UnknownTask(String),
    /// The name was used before.
    #[error("there is, or was, a task {0}")]
    Exists(String),
    /// There is such a queue.
    #[error("there is a queue {0} already")]
    QueueExists(String),
    /// The schedule time is too far away.
    #[error("the schedule time is more than 720 hours in the future")]
    TooFar,
    /// The name breaks a rule.
    #[error("the name of a task has 1 to 500 letters, digits, hyphens and underscores")]
    InvalidName,
    /// The queue keeps no more tasks. Cloud Tasks has no such limit.
    #[error("the queue {0} is full")]
    Full(String),
}

impl Queues {
    /// One queue for each service that delays events.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let services = catalog.services.iter().filter(|service| !service.delays.is_empty());
        let queues = services.map(|service| (wire::timer_queue(&service.name), Queue::default())).collect();
        Self { queues, last_id: 0 }
    }

    /// Adds an empty queue.
    ///
    /// # Errors
    /// If it exists.
    pub fn add(&mut self, queue: &str) -> Result<(), Refused> {
        if self.queues.contains_key(queue) {
            return Err(Refused::QueueExists(queue.to_owned()));
        }
        self.queues.insert(queue.to_owned(), Queue::default());
        Ok(())
    }

    /// Creates a task. Without an id, it gets one.
    ///
    /// # Errors
    /// If there is no such queue, if a task had this id before, if the time is too far away, or if the queue is full.
    pub fn create(
        &mut self,
        queue: &str,
        id: Option<&str>,
        at: Timestamp,
        work: Work,
        now: Timestamp,
    ) -> Result<&Task, Refused> {
        self.last_id += 1;
        let id = id.map_or_else(|| self.last_id.to_string(), str::to_owned);
        let found = self.queue(queue)?;
        if !is_task_id(&id) {
            return Err(Refused::InvalidName);
        }
        if at > after(now, HORIZON) {
            return Err(Refused::TooFar);
        }
        if found.used.contains(&id) {
            return Err(Refused::Exists(id));
        }
        if found.tasks.len() >= MOST {
            return Err(Refused::Full(queue.to_owned()));
        }
        found.remember(&id);
        let task = Task {
            id: id.clone(),
            created: now,
            scheduled: at.max(now),
            work,
            attempts: 0,
            is_running: false,
        };
        Ok(found.tasks.entry(id).or_insert(task))
    }

    /// A task that waits.
    ///
    /// # Errors
    /// If there is no such queue or task.
    pub fn get(&self, queue: &str, id: &str) -> Result<&Task, Refused> {
        self.tasks(queue)?.get(id).ok_or_else(|| Refused::UnknownTask(id.to_owned()))
    }

    /// The tasks of a queue, by id.
    ///
    /// # Errors
    /// If there is no such queue.
    pub(crate) fn tasks(&self, queue: &str) -> Result<&BTreeMap<String, Task>, Refused> {
        let found = self.queues.get(queue).ok_or_else(|| Refused::UnknownQueue(queue.to_owned()))?;
        Ok(&found.tasks)
    }

    /// Whether no task waits or runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.values().all(|queue| queue.tasks.is_empty())
    }

    /// The ids of a queue's tasks.
    #[must_use]
    pub fn ids(&self, queue: &str) -> Vec<String> {
        self.tasks(queue).map(|tasks| tasks.keys().cloned().collect()).unwrap_or_default()
    }

    /// The type and the time of each event that waits for its time.
    pub(crate) fn timers(&self) -> Vec<(String, Timestamp)> {
        let tasks = self.queues.values().flat_map(|queue| queue.tasks.values());
        let timer = |task: &Task| match &task.work {
            Work::Publish(message) => {
                Some((message.attributes.get(attribute::TYPE)?.clone(), task.scheduled))
            }
            Work::Request { .. } => None,
        };
        tasks.filter_map(timer).collect()
    }

    /// The names of the queues.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    /// Deletes a task. Its name stays used.
    ///
    /// # Errors
    /// If there is no such queue or task.
    pub fn delete(&mut self, queue: &str, id: &str) -> Result<(), Refused> {
        let removed = self.queue(queue)?.tasks.remove(id);
        removed.map(drop).ok_or_else(|| Refused::UnknownTask(id.to_owned()))
    }

    /// Deletes all tasks of a queue.
    ///
    /// # Errors
    /// If there is no such queue.
    pub fn purge(&mut self, queue: &str) -> Result<(), Refused> {
        self.queue(queue)?.tasks.clear();
        Ok(())
    }

    /// Makes a task due now.
    ///
    /// # Errors
    /// If there is no such queue or task.
    pub(crate) fn run(&mut self, queue: &str, id: &str, now: Timestamp) -> Result<&Task, Refused> {
        let found = self.queue(queue)?.tasks.get_mut(id);
        let task = found.ok_or_else(|| Refused::UnknownTask(id.to_owned()))?;
        task.scheduled = now;
        Ok(task)
    }

    /// Starts all tasks that are due. Each needs a call of [`ended`](Self::ended).
    pub fn due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        for (queue, found) in &mut self.queues {
            for task in found.tasks.values_mut().filter(|task| !task.is_running && task.scheduled <= now) {
                task.is_running = true;
                task.attempts += 1;
                due.push(Due { queue: queue.clone(), id: task.id.clone(), work: task.work.clone() });
            }
        }
        due
    }

    /// Ends an attempt. A task that has failed is tried again after a pause.
    pub fn ended(&mut self, due: &Due, has_succeeded: bool, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(&due.queue) else { return };
        if has_succeeded {
            queue.tasks.remove(&due.id);
        } else if let Some(task) = queue.tasks.get_mut(&due.id) {
            let doublings = task.attempts.saturating_sub(1).min(16);
            task.scheduled = after(now, (MIN_BACKOFF * (1 << doublings)).min(MAX_BACKOFF));
            task.is_running = false;
        }
    }

    /// When [`due`](Self::due) must be called next, if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let tasks = self.queues.values().flat_map(|queue| queue.tasks.values());
        tasks.filter(|task| !task.is_running).map(|task| task.scheduled).min()
    }

    fn queue(&mut self, queue: &str) -> Result<&mut Queue, Refused> {
        self.queues.get_mut(queue).ok_or_else(|| Refused::UnknownQueue(queue.to_owned()))
    }
}

impl Queue {
    fn remember(&mut self, id: &str) {
        self.used.insert(id.to_owned());
        self.order.push_back(id.to_owned());
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.used.remove(&oldest);
        }
    }
}

/// <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks#Task>
fn is_task_id(id: &str) -> bool {
    (1..=500).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
