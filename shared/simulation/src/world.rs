//! Processes, the broker's deliveries to them, and the actions of a caller.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use catalog::Catalog;
use jiff::Timestamp;
use local::{
    broker::{Delivery, DeliveryPolicy, Published, Topics},
    tasks::{Due, Queues, Work},
};
use pushbox::{
    AccessTokens, Clock, Message, Path, Ports, PushAuth, Random, System,
    store::{Change, Fields, Precondition, Query, Store, Write},
    wire::attribute,
};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    Counts, Scenario,
    checks::{self, Heard},
    choice::Choice,
    faults::{Fault, Step},
    ledger::{self, Delivered},
    outside::Outside,
    wire::{InRequest, REQUEST, Shared, Wire},
};

/// How many processes each service has at a time.
const PROCESSES: usize = 2;

/// How many times a caller posts one request.
const ATTEMPTS: u32 = 500;

/// How long a world may take to settle.
const LONGEST: Duration = Duration::from_secs(3 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// The systems of a scenario.
#[derive(Clone, Copy)]
pub(crate) struct Systems {
    /// Builds them with these ports.
    build: fn(&Ports, &Outside) -> Vec<System>,
    access_tokens: fn() -> AccessTokens,
}

impl Systems {
    pub(crate) fn of<S: Scenario>() -> Self {
        Self { build: S::systems, access_tokens: S::access_tokens }
    }
}

/// Pub/Sub counts the failures before the world began, too.
fn policy(earlier_failures: u32) -> DeliveryPolicy {
    let policy = DeliveryPolicy::production();
    DeliveryPolicy { max_delivery_attempts: policy.max_delivery_attempts - earlier_failures, ..policy }
}

/// A world with its services. Faults happen until [`settle`](Self::settle) ends them.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    catalog: Arc<Catalog>,
    systems: Systems,
    heard: Heard,
    /// How often each message had failed before the world began.
    earlier_failures: u32,
    processes: Mutex<BTreeMap<(Arc<str>, usize), Process>>,
    /// The number of requests so far. The requests go to the processes in turn.
    turn: AtomicUsize,
    /// The number of deliveries in flight.
    running: AtomicUsize,
    /// Notified when a delivery has ended.
    idle: Notify,
}

#[derive(Clone)]
struct Process {
    app: Router,
    dead: CancellationToken,
}

/// The answer that a caller gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if it is not JSON.
    pub body: Value,
    /// The store refused a commit of the request for good.
    was_refused: bool,
}

impl Answer {
    /// Whether the same request would get the same answer again.
    fn is_final(&self) -> bool {
        let is_later = self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS;
        !is_later && !self.was_refused
    }
}

/// A request to send.
struct Sent<'a> {
    service: &'a str,
    method: Method,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: String,
    delivery: Option<Delivered>,
}

impl World {
    /// An empty world. It delivers nothing by itself: see [`deliver_all`](Self::deliver_all).
    pub(crate) fn new(
        choice: Choice,
        start: Timestamp,
        catalog: Arc<Catalog>,
        systems: Systems,
        heard: Heard,
        earlier_failures: u32,
    ) -> Self {
        let clock = Clock::following_tokio(start);
        let topics = Topics::of(&catalog, policy(earlier_failures)).expect("the filters of the catalog");
        let inner = Inner {
            shared: Arc::new(Shared::new(choice, clock, topics, Queues::of(&catalog))),
            catalog,
            systems,
            heard,
            earlier_failures,
            processes: Mutex::default(),
            turn: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            idle: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The catalog of the systems.
    pub(crate) fn catalog_of(systems: Systems) -> Catalog {
        let catalog = Catalog::of(&[]);
        let heard = Heard::new(&[]);
        let choice = Choice::script(&[], None, false);
        let world = Self::new(choice, Timestamp::UNIX_EPOCH, Arc::new(catalog), systems, heard, 0);
        let (ports, outside) = world.connect("nobody".into(), 0, CancellationToken::new());
        Catalog::of(&(systems.build)(&ports, &outside))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    pub(crate) fn choice(&self) -> &Choice {
        &self.inner.shared.choice
    }

    /// Sends a request to one of the service's processes. Returns `None` if the process dies or the
    /// caller hangs up.
    pub async fn request(
        &self,
        service: &str,
        method: Method,
        path: &str,
        idempotency_key: Option<&str>,
        body: &Value,
    ) -> Option<Answer> {
        let headers: Vec<_> = idempotency_key.map(|key| ("idempotency-key", key)).into_iter().collect();
        self.request_with(service, method, path, &headers, body).await
    }

    /// Likewise, with these headers.
    pub async fn request_with(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Option<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(Sent { service, method, path, headers, body, delivery: None }).await
    }

    async fn send(&self, sent: Sent<'_>) -> Option<Answer> {
        let process = self.process(sent.service);
        let began = self.now();
        let id = self.shared().ledger().request(sent.service, sent.delivery, began);
        let mut request = Request::builder().method(sent.method).uri(sent.path);
        for (name, value) in sent.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(sent.body)).expect("a request");
        let hung_up = CancellationToken::new();
        let answer = REQUEST.scope(InRequest { id, hung_up: hung_up.clone() }, async {
            let response = process.app.oneshot(request).await.unwrap_or_else(|never| match never {});
            let (parts, body) = response.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let was_refused = self.shared().ledger().answered(id, parts.status, self.now());
            Answer { status: parts.status, headers: parts.headers, body, was_refused }
        });
        tokio::select! {
            biased;
            () = process.dead.cancelled() => {
                self.shared().ledger().requests[id].was_cut = true;
                None
            }
            // Background work is cut off only if the process dies.
            () = hung_up.cancelled() => {
                let (world, dead) = (self.clone(), process.dead.clone());
                tokio::spawn(async move {
                    dead.cancelled().await;
                    world.shared().ledger().requests[id].was_cut = true;
                });
                None
            }
            answer = answer => Some(answer),
        }
    }

    /// Posts `body` until the answer is final, as a caller with an idempotency key may do. It also
    /// posts again after the store has refused the commit, as a person does after removing the
    /// cause.
    ///
    /// # Panics
    /// If none of 500 answers is final.
    pub async fn insist(&self, service: &str, path: &str, idempotency_key: &str, body: &Value) -> Answer {
        self.insist_with(service, Method::POST, path, &[("idempotency-key", idempotency_key)], body).await
    }

    /// Likewise, with this method and these headers.
    ///
    /// # Panics
    /// If none of 500 answers is final.
    pub async fn insist_with(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        for _ in 0..ATTEMPTS {
            let answer = self.request_with(service, method.clone(), path, headers, body).await;
            match answer {
                Some(answer) if answer.is_final() => return answer,
                _ => self.pause_up_to(Duration::from_secs(2)).await,
            }
        }
        panic!("{path} of {service} gave no final answer in {ATTEMPTS} attempts");
    }

    /// The answer to `GET path`, after the faults have ended.
    pub async fn get(&self, service: &str, path: &str) -> Answer {
        let answer = self.request(service, Method::GET, path, None, &Value::Null).await;
        answer.expect("no process dies after the faults have ended")
    }

    /// Publishes data with these attributes, as a person does by hand.
    pub fn publish(&self, topic: &str, attributes: &[(&str, &str)], data: &Value) {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let message = Message { topic: topic.to_owned(), attributes, data: data.to_string().into() };
        self.shared().accept(message).expect("a message that Pub/Sub accepts");
    }

    /// Publishes data without any attribute.
    pub fn publish_by_hand(&self, topic: &str, data: &Value) {
        self.publish(topic, &[], data);
    }

    /// A random number below `n`.
    #[must_use]
    pub fn pick(&self, n: usize) -> usize {
        self.choice().pick(n)
    }

    /// Pauses for a random time, up to `longest`.
    pub async fn pause_up_to(&self, longest: Duration) {
        tokio::time::sleep(self.choice().up_to(longest)).await;
    }

    /// Lets faults happen for a while, and then waits until nothing is in flight. A dead letter may still have the claim
    /// of a late duplicate, which only its replay ends.
    ///
    /// # Errors
    /// If the world does not settle.
    pub async fn calm(&self) -> Result<(), String> {
        self.pause_up_to(Duration::from_secs(90)).await;
        self.choice().end_chaos();
        self.quiet().await
    }

    /// Lets faults happen for a while, and then waits until every message is handled and every
    /// event is published. In some worlds, days pass and messages are delivered again. Checks the
    /// rules that hold in every world.
    ///
    /// # Errors
    /// If the world does not settle, or a rule is broken. The error names the rule.
    pub async fn settle(&self) -> Result<(), String> {
        self.calm().await?;
        if self.counts().faults.contains_key(&(Step::Commit, Fault::Refused))
            || self.inner.earlier_failures > 0
        {
            self.replay_dead_letters()?;
            self.quiet().await?;
        }
        self.check()?;
        if self.pick(4) == 0 {
            let days = 1 + self.pick(6) as u64;
            tokio::time::sleep(Duration::from_secs(days * DAY)).await;
            self.deliver_some_again().await;
            self.quiet().await?;
            self.check()?;
        }
        Ok(())
    }

    /// Checks the rules that hold whenever nothing is in flight.
    pub(crate) fn check(&self) -> Result<(), String> {
        checks::check(&self.shared().ledger(), &self.inner.catalog, &self.inner.heard)
    }

    /// Waits until every message is handled and every event is published.
    async fn quiet(&self) -> Result<(), String> {
        let began = tokio::time::Instant::now();
        while began.elapsed() < LONGEST {
            // `POST /relay` first leaves events to the request that made them. This pause is
            // longer.
            tokio::time::sleep(Duration::from_secs(30)).await;
            let is_quiet = || self.is_quiet() && self.shared().queues(|queues, _| queues.is_empty());
            if is_quiet() && self.relay_everywhere().await == 0 && is_quiet() {
                return Ok(());
            }
        }
        let running = self.inner.running.load(Ordering::Relaxed);
        Err(format!("every world settles: {running} deliveries are in flight"))
    }

    /// Whether no delivery is in flight, and none will be due.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inner.running.load(Ordering::Relaxed) == 0
            && self.shared().topics(|topics, _| topics.next_wakeup().is_none())
    }

    /// Waits until [`is_quiet`](Self::is_quiet) may hold.
    pub(crate) async fn idle(&self) {
        self.inner.idle.notified().await;
    }

    /// The time. The clocks of processes may differ from it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared().now()
    }

    /// Lets exactly this time pass after the world has settled, such as the 45 days of a receipt.
    pub async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Whether nothing went wrong but the clocks.
    #[must_use]
    pub fn is_without_faults(&self) -> bool {
        self.counts().faults.keys().all(|(step, _)| *step == Step::Start)
    }

    /// The reason and the data of each dead letter.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<(String, String)> {
        self.shared().topics(|topics, _| {
            let letters = topics.dead_letters().map(|(_, letter)| {
                let reason = letter.attributes.get(attribute::DEAD_LETTER_REASON).cloned();
                (reason.unwrap_or_default(), String::from_utf8_lossy(&letter.data).into_owned())
            });
            letters.collect()
        })
    }

    /// The documents of a service's collection, such as `order-service/stock`.
    pub async fn documents(&self, collection: &str) -> Vec<Value> {
        let query =
            Query { collection: format!("services/{collection}"), limit: usize::MAX, ..Query::default() };
        let found = self.shared().store.list(&query).await.unwrap_or_default();
        found.into_iter().map(|stored| stored.fields.into()).collect()
    }

    /// The payloads of the calls that reached the outside with a new key.
    pub async fn outside(&self, collection: &str) -> Vec<Value> {
        let query =
            Query { collection: format!("services/{collection}"), limit: usize::MAX, ..Query::default() };
        let found = self.shared().outside.list(&query).await.unwrap_or_default();
        found.into_iter().map(|stored| stored.fields.into()).collect()
    }

    /// All documents of a service.
    pub(crate) async fn all_documents(&self, service: &str) -> Vec<(Path, Fields)> {
        let prefix = format!("services/{service}/");
        let paths: Vec<Path> = self.shared().ledger().paths.iter().cloned().collect();
        let mut documents = Vec::new();
        for path in paths.into_iter().filter(|path| path.collection().starts_with(&prefix)) {
            if let Ok(Some(stored)) = self.shared().store.get(&path).await {
                documents.push((path, stored.fields));
            }
        }
        documents
    }

    /// All documents of the outside world.
    pub(crate) async fn all_outside(&self) -> Vec<(Path, Fields)> {
        let paths: Vec<Path> = self.shared().ledger().outside_paths.iter().cloned().collect();
        let mut documents = Vec::new();
        for path in paths {
            if let Ok(Some(stored)) = self.shared().outside.get(&path).await {
                documents.push((path, stored.fields));
            }
        }
        documents
    }

    /// Puts documents into the store, and into the store of the outside world.
    pub(crate) async fn load(&self, documents: &[(Path, Fields)], outside: &[(Path, Fields)]) {
        let set = |(path, fields): &(Path, Fields)| Write {
            path: path.clone(),
            change: Change::Set(fields.clone()),
            only_if: Precondition::None,
        };
        let writes = |documents: &[(Path, Fields)]| documents.iter().map(set).collect::<Vec<Write>>();
        let shared = self.shared();
        shared.commit(&writes(documents)).await.expect("the store in memory accepts them");
        shared.outside.commit(&writes(outside)).await.expect("the store in memory accepts them");
        shared.ledger().handled.clear();
    }

    pub(crate) fn counts(&self) -> Counts {
        self.choice().counts()
    }

    pub(crate) fn history(&self) -> Vec<String> {
        self.choice().history()
    }

    /// One of the service's processes. A dead process is started again.
    fn process(&self, service: &str) -> Process {
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed);
        let number = (turn + self.choice().pick(PROCESSES)) % PROCESSES;
        let mut processes = self.processes();
        let name: Arc<str> = service.into();
        let process =
            processes.entry((name.clone(), number)).or_insert_with(|| self.start(name.clone(), number));
        if process.dead.is_cancelled() {
            *process = self.start(name, number);
        }
        process.clone()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, usize), Process>> {
        self.inner.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, name: Arc<str>, number: usize) -> Process {
        let dead = CancellationToken::new();
        let (ports, outside) = self.connect(name.clone(), number, dead.clone());
        let mut services =
            (self.inner.systems.build)(&ports, &outside).into_iter().flat_map(|system| system.services);
        let service = services.find(|service| service.name() == &*name).expect("a service of the catalog");
        Process { app: service.app(ports, PushAuth::None), dead }
    }

    /// The ports of a new process.
    fn connect(&self, service: Arc<str>, number: usize, dead: CancellationToken) -> (Ports, Outside) {
        let shared = self.inner.shared.clone();
        let choice = &shared.choice;
        let fault = choice.fault(Step::Start, &service, false);
        let now = match fault {
            Some(Fault::ClockAhead) => shared.now().saturating_add(choice.skew()),
            Some(Fault::ClockBehind) => shared.now().saturating_sub(choice.skew()),
            _ => Ok(shared.now()),
        };
        choice.note(|| {
            format!(
                "{service} {number} starts {}",
                fault.map(|fault| format!("[{fault:?}]")).unwrap_or_default()
            )
        });
        let process = format!("{service} {number}").into();
        let clock = Clock::following_tokio(now.unwrap_or_default());
        let wire = Wire { shared, service, process, dead };
        let outside = Outside::new(wire.clone());
        let wire = Arc::new(wire);
        let timers = wire.clone();
        let random = Random::seeded(fastrand::u64(..));
        let mut ports = Ports::new(wire.clone(), wire);
        (ports.clock, ports.random) = (clock, random);
        ports.timers = Some(timers);
        ports.access_tokens = (self.inner.systems.access_tokens)();
        (ports, outside)
    }

    /// Delivers due messages in an endless loop.
    pub(crate) async fn deliver_all(self) {
        loop {
            for delivery in self.shared().topics(Topics::due) {
                if self.choice().once_in(6) {
                    self.deliver_once_more(delivery.clone(), Duration::from_secs(40));
                }
                self.spawn(self.clone().deliver(delivery, true), Duration::from_secs(5));
            }
            // A message whose last delivery has no answer leaves the subscription here.
            self.inner.idle.notify_one();
            let next =
                self.shared().topics(|topics, now| topics.next_wakeup().map(|next| next.duration_since(now)));
            let nothing_new = async {
                match next {
                    Some(pause) => tokio::time::sleep(Duration::try_from(pause).unwrap_or_default()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared().changed.notified() => {}
                () = nothing_new => {}
            }
        }
    }

    /// Fires the timers that are due, in an endless loop.
    pub(crate) async fn fire_all(self) {
        loop {
            for due in self.shared().queues(Queues::due) {
                let world = self.clone();
                tokio::spawn(async move { world.fire(due).await });
            }
            let next =
                self.shared().queues(|queues, now| queues.next_wakeup().map(|next| next.duration_since(now)));
            let nothing_new = async {
                match next {
                    Some(pause) => tokio::time::sleep(Duration::try_from(pause).unwrap_or_default()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared().timers_changed.notified() => {}
                () = nothing_new => {}
            }
        }
    }

    /// Waits for the next timer, and fires it. Returns false if there is none.
    pub(crate) async fn fire_next(&self) -> bool {
        let Some(next) = self.shared().queues(|queues, _| queues.next_wakeup()) else { return false };
        let pause = Duration::try_from(next.duration_since(self.shared().now())).unwrap_or_default();
        tokio::time::sleep(pause).await;
        for due in self.shared().queues(Queues::due) {
            self.fire(due).await;
        }
        true
    }

    /// Publishes the message of a timer, as Cloud Tasks does.
    pub(crate) async fn fire(&self, due: Due) {
        let Work::Publish(message) = &due.work else { return };
        let fault = self.choice().fault(Step::Fire, &due.queue, false);
        self.choice().note(|| format!("a timer of {} fires {fault:?}", due.queue));
        if fault == Some(Fault::Slow) {
            // Cloud Tasks may be late by minutes.
            tokio::time::sleep(Duration::from_secs(300)).await;
        }
        let is_published = fault != Some(Fault::Failed) && self.shared().accept(message.clone()).is_ok();
        let is_answered = is_published && fault != Some(Fault::LostAnswer);
        self.shared().queues(|queues, now| queues.ended(&due, is_answered, now));
        self.shared().timers_changed.notify_one();
    }

    /// Delivers a message again without a nack, as Pub/Sub may do.
    pub(crate) fn deliver_once_more(&self, delivery: Delivery, within: Duration) {
        self.choice().count(|counts| counts.duplicates += 1);
        self.spawn(self.clone().deliver(delivery, false), within);
    }

    /// Makes a delivery whose answer the broker expects.
    pub(crate) fn deliver_at_once(&self, delivery: Delivery) {
        self.spawn(self.clone().deliver(delivery, true), Duration::ZERO);
    }

    fn spawn(&self, delivery: impl Future<Output = ()> + Send + 'static, within: Duration) {
        let world = self.clone();
        world.inner.running.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            world.pause_up_to(within).await;
            delivery.await;
            world.inner.running.fetch_sub(1, Ordering::Relaxed);
            world.inner.idle.notify_one();
        });
    }

    /// Delivers a message. If `counts` is true, the broker gets the answer.
    pub(crate) async fn deliver(self, mut delivery: Delivery, counts: bool) {
        delivery.attempt += self.inner.earlier_failures;
        let (choice, message) = (self.choice(), &delivery.message);
        choice.count(|counts| counts.deliveries += 1);
        let fault = choice.fault(Step::Arrival, &delivery.service, false);
        choice.note(|| {
            let event_type = message.attributes.get("ce-type").map_or("", String::as_str);
            format!("{} gets {event_type} {} {fault:?}", delivery.service, message.id())
        });
        if fault.is_some() {
            return;
        }
        let sent = Sent {
            service: &delivery.service,
            method: Method::POST,
            path: "/",
            headers: &[],
            body: delivery.envelope(),
            delivery: Some(Delivered {
                event: ledger::event(&message.attributes, &message.id()),
                attempt: delivery.attempt,
                replay: message
                    .attributes
                    .contains_key(attribute::DEAD_LETTER_MESSAGE_ID)
                    .then(|| message.id()),
            }),
        };
        let answer = self.send(sent).await;
        let fault = choice.fault(Step::Answer, &delivery.service, false);
        choice.note(|| {
            let status = answer.as_ref().map(|answer| answer.status.as_u16());
            format!("{} answers {} {status:?} {fault:?}", delivery.service, message.id())
        });
        if fault.is_some() || !counts {
            return;
        }
        let is_acked = answer.is_some_and(|answer| answer.status.is_success());
        self.shared().topics(|topics, now| match is_acked {
            true => topics.ack(&delivery.subscription, delivery.id, now),
            false => topics.nack(&delivery.subscription, delivery.id, "", now),
        });
        self.shared().changed.notify_one();
    }

    /// Replays the dead letters, as a person does when the store accepts commits again.
    fn replay_dead_letters(&self) -> Result<(), String> {
        for service in &self.inner.catalog.services {
            let holder = &service.dead_letter_topic;
            let letters = self.shared().topics(|topics, now| {
                let letters = topics.pull(holder, usize::MAX, now).unwrap_or_default();
                for letter in &letters {
                    topics.ack(holder, letter.id, now);
                }
                letters
            });
            for Delivery { message, .. } in letters {
                let subscription = [attribute::DEAD_LETTER_SUBSCRIPTION, attribute::PUBSUB_SUBSCRIPTION]
                    .iter()
                    .find_map(|name| message.attributes.get(*name)?.rsplit('/').next());
                let wired = service.subscriptions.iter().find(|wired| Some(&*wired.name) == subscription);
                let Some(wired) = wired else { continue };
                let attributes = replay_of(&message, &service.name);
                let (topic, data) = (wired.topic.clone(), message.data.clone());
                self.shared().accept(Message { topic, attributes, data })?;
            }
        }
        Ok(())
    }

    /// Redelivers some messages that were acked long ago.
    async fn deliver_some_again(&self) {
        let messages: Vec<Message> =
            self.shared().ledger().published.iter().map(|published| published.message.clone()).collect();
        // A message without an event id would be a new event.
        let some = messages.into_iter().filter(|message| message.attributes.contains_key("ce-id"));
        self.deliver_apart(&self.inner.catalog, some.filter(|_| self.pick(3) == 0).collect());
    }

    /// Delivers messages to the services of this catalog. The world's broker forgets acked
    /// messages, so another broker makes the deliveries.
    fn deliver_apart(&self, catalog: &Catalog, messages: Vec<Message>) {
        let mut topics =
            Topics::of(catalog, DeliveryPolicy::production()).expect("the filters of the catalog");
        let now = self.shared().now();
        for message in messages {
            let _ = topics.publish(message, now);
        }
        loop {
            let due = topics.due(now);
            if due.is_empty() {
                break;
            }
            for delivery in due {
                topics.ack(&delivery.subscription, delivery.id, now);
                self.deliver_once_more(delivery, Duration::from_secs(60));
            }
        }
    }

    /// Relays every minute, as Cloud Scheduler does, as long as there may be something to relay.
    pub(crate) async fn schedule_relays(self) {
        loop {
            self.shared().committed.notified().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.relay_everywhere().await;
        }
    }

    /// Calls `POST /relay` of every service that has something to relay. Returns how many receipts
    /// were pending.
    pub(crate) async fn relay_everywhere(&self) -> usize {
        let mut pending = 0;
        for service in self.inner.catalog.services.iter().filter(|service| service.relays) {
            let found = self.shared().ledger().pending(&service.name);
            if found > 0 {
                pending += found;
                self.request(&service.name, Method::POST, "/relay", None, &Value::Null).await;
            }
        }
        pending
    }
}

/// The attributes with which `functions dead-letters` replays a letter.
pub(crate) fn replay_of(letter: &Published, service: &str) -> BTreeMap<String, String> {
    let mut attributes = letter.attributes.clone();
    attributes.insert(attribute::REPLAY_ONLY.to_owned(), service.to_owned());
    // If Pub/Sub has moved the letter, it has lost the message id.
    let lost = || format!("lost/{}", letter.id());
    attributes.entry(attribute::DEAD_LETTER_MESSAGE_ID.to_owned()).or_insert_with(lost);
    attributes
}
