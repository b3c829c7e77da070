//! Processes, the broker's deliveries to them, and what a caller can do from outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use pushbox::{
    Catalog, Clock, Message, Ports, PushAuth, System,
    store::{Memory, Query, Store},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    Counts,
    broker::{Broker, Waiting},
    faults::{Chance, Wire},
};

/// Each service runs in so many processes at a time.
const PROCESSES: usize = 2;

/// A world has settled long before, or it never will.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Twenty seconds before 1970: a year ends in each world.
const START: Timestamp = Timestamp::constant(-20, 0);

/// Starts all systems with these ports.
pub(crate) type Systems = fn(&Ports) -> Vec<System>;

/// A world with its services, in which things go wrong until it is told to settle.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    chance: Chance,
    clock: Clock,
    store: Arc<Memory>,
    broker: Broker,
    catalog: Catalog,
    systems: Systems,
    processes: Mutex<BTreeMap<(String, usize), Process>>,
    deliveries: TaskTracker,
}

#[derive(Clone)]
struct Process {
    app: Router,
    dead: CancellationToken,
}

/// What a caller gets.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl World {
    pub(crate) fn new(seed: u64, systems: Systems) -> Self {
        let clock = Clock::following_tokio(START);
        let store = Arc::new(Memory::default());
        let broker = Broker::default();
        let ports = Ports {
            store: store.clone(),
            publisher: Arc::new(broker.clone()),
            clock: clock.clone(),
            background: TaskTracker::new(),
        };
        let catalog = Catalog::of(&systems(&ports));
        broker.wire(catalog.clone());
        let inner = Inner {
            chance: Chance::new(seed),
            clock,
            store,
            broker,
            catalog,
            systems,
            processes: Mutex::default(),
            deliveries: TaskTracker::new(),
        };
        let world = Self { inner: Arc::new(inner) };
        tokio::spawn(world.clone().deliver_all());
        tokio::spawn(world.clone().schedule_relays());
        world
    }

    /// Sends a request to one of a service's processes; `None` if it dies on it.
    pub async fn request(
        &self,
        service: &str,
        method: Method,
        path: &str,
        idempotency_key: Option<&str>,
        body: &Value,
    ) -> Option<Answer> {
        let process = self.process(service);
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body.to_string())).expect("a request");
        tokio::select! {
            biased;
            () = process.dead.cancelled() => None,
            response = process.app.oneshot(request) => {
                let response = response.unwrap_or_else(|never| match never {});
                let status = response.status();
                let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
                Some(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
            }
        }
    }

    /// Posts `body` again and again until there is an answer other than a server's error, as a
    /// caller with an idempotency key may.
    pub async fn insist(&self, service: &str, path: &str, idempotency_key: &str, body: &Value) -> Answer {
        loop {
            let answer = self.request(service, Method::POST, path, Some(idempotency_key), body).await;
            match answer {
                Some(answer) if !answer.status.is_server_error() => return answer,
                _ => self.wait(Duration::from_secs(1)).await,
            }
        }
    }

    /// What `GET path` answers once nothing goes wrong any more.
    pub async fn get(&self, service: &str, path: &str) -> Answer {
        let answer = self.request(service, Method::GET, path, None, &Value::Null).await;
        answer.expect("no process dies once the chaos is over")
    }

    /// Publishes data without any attribute, as a person does by hand.
    pub fn publish_by_hand(&self, topic: &str, data: &Value) {
        let data = data.to_string().into();
        let message = Message { topic: topic.to_owned(), attributes: BTreeMap::new(), data };
        self.inner.broker.accept(message);
    }

    /// A number below `n`, by chance.
    #[must_use]
    pub fn pick(&self, n: usize) -> usize {
        self.inner.chance.pick(n)
    }

    /// Lets up to `longest` pass.
    pub async fn wait(&self, longest: Duration) {
        tokio::time::sleep(self.inner.chance.up_to(longest)).await;
    }

    /// Lets things go wrong for a while, and then waits until every message is handled and every
    /// event is published.
    ///
    /// # Errors
    /// Says what is still there after a day.
    pub async fn settle(&self) -> Result<(), String> {
        self.wait(Duration::from_secs(60)).await;
        self.inner.chance.end_chaos();
        let began = tokio::time::Instant::now();
        while began.elapsed() < LONGEST {
            // Longer than any pause between two deliveries, and than `POST /relay` leaves events
            // to the request that made them.
            tokio::time::sleep(Duration::from_secs(30)).await;
            let is_quiet = self.inner.deliveries.is_empty() && self.inner.broker.is_quiet();
            if is_quiet && self.relay_everywhere().await == 0 {
                return Ok(());
            }
        }
        Err(format!("it did not settle: {} messages are not handled", self.inner.deliveries.len()))
    }

    /// What was parked, as the reason and the data.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<(String, String)> {
        let reason = |message: &Message| message.attributes.get("dead-letter-reason").cloned();
        let text = |message: &Message| String::from_utf8_lossy(&message.data).into_owned();
        let letters = self.inner.broker.dead_letters();
        letters.iter().map(|message| (reason(message).unwrap_or_default(), text(message))).collect()
    }

    /// The documents of a collection, such as `local-mailbox/mails`.
    pub async fn documents(&self, collection: &str) -> Vec<Value> {
        let query =
            Query { collection: format!("services/{collection}"), limit: usize::MAX, ..Query::default() };
        let found = self.inner.store.list(&query).await.unwrap_or_default();
        found.into_iter().map(|stored| stored.fields.into()).collect()
    }

    pub(crate) fn history(&self) -> (Counts, Vec<String>) {
        self.inner.chance.history()
    }

    /// One of the service's processes; a dead one is started again.
    fn process(&self, service: &str) -> Process {
        let inner = &self.inner;
        let number = inner.chance.pick(PROCESSES);
        let mut processes = self.processes();
        let process =
            processes.entry((service.to_owned(), number)).or_insert_with(|| self.start(service, number));
        if process.dead.is_cancelled() {
            *process = self.start(service, number);
        }
        process.clone()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<(String, usize), Process>> {
        self.inner.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, name: &str, number: usize) -> Process {
        let inner = &self.inner;
        let dead = CancellationToken::new();
        let wire = Arc::new(Wire {
            process: format!("{name} {number}"),
            chance: inner.chance.clone(),
            dead: dead.clone(),
            store: inner.store.clone(),
            broker: inner.broker.clone(),
        });
        let ports = Ports {
            store: wire.clone(),
            publisher: wire,
            clock: inner.clock.clone(),
            background: TaskTracker::new(),
        };
        let mut services = (inner.systems)(&ports).into_iter().flat_map(|system| system.services);
        let service = services.find(|service| service.name() == name).expect("a service of the catalog");
        Process { app: service.app(ports, PushAuth::None), dead }
    }

    async fn deliver_all(self) {
        loop {
            let Some(message) = self.inner.broker.take() else {
                self.inner.broker.published().await;
                continue;
            };
            let chance = &self.inner.chance;
            if chance.once_in(6) {
                let step = format!("{} gets message {} twice", message.service, message.id);
                chance.note(step, |counts| counts.duplicates += 1);
                self.inner.deliveries.spawn(self.clone().deliver(message.clone()));
            }
            self.inner.deliveries.spawn(self.clone().deliver(message));
        }
    }

    /// Delivers a message until it is acked, and sometimes once more.
    async fn deliver(self, message: Waiting) {
        let chance = &self.inner.chance;
        let body = json!({
            "subscription": format!("projects/simulation/subscriptions/{}", message.subscription),
            "message": {
                "messageId": message.id,
                "attributes": message.attributes,
                "data": STANDARD.encode(&message.data),
            },
        });
        loop {
            self.wait(Duration::from_secs(5)).await;
            chance.note(format!("{} gets message {}", message.service, message.id), |counts| {
                counts.deliveries += 1;
            });
            let answer = self.request(&message.service, Method::POST, "/", None, &body).await;
            if !answer.is_some_and(|answer| answer.status.is_success()) {
                continue;
            }
            if !chance.once_in(10) {
                return;
            }
            chance.note(format!("the ack of message {} is lost", message.id), |counts| counts.lost_acks += 1);
        }
    }

    /// What Cloud Scheduler does.
    async fn schedule_relays(self) {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.relay_everywhere().await;
        }
    }

    /// Calls `POST /relay` of every service that has one. Returns how many events this published.
    async fn relay_everywhere(&self) -> u64 {
        let mut events = 0;
        for service in self.inner.catalog.services.iter().filter(|service| service.relays) {
            let answer = self.request(&service.name, Method::POST, "/relay", None, &Value::Null).await;
            events += answer.and_then(|answer| answer.body["events"].as_u64()).unwrap_or(0);
        }
        events
    }
}
