//! The commands on the local stack's broker, with services in this process. Tokio's clock is paused.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use catalog::Catalog;
use futures::FutureExt;
use jiff::Timestamp;
use local::{
    Broker, DeliveryPolicy,
    broker::{DeliveryId, Topics},
};
use pushbox::{
    Clock, Context, Effect, Event, Failure, Message, Ports, PushAuth, Service, System,
    publisher::{PublishError, Publisher},
    reject,
    store::Memory,
    wire::attribute,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower::ServiceExt;

use crate::{
    CallError, Desk, Letter, LocalStack, Names, Options, Pulled, Receipts, Report, Selection, Stop,
    Subscriber, Told, Unreplayable, drop_letters, groups, plan, replay,
};

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Ordered {
    order: u32,
}

impl Event for Ordered {
    const TYPE: &'static str = "ordered";
    const TOPIC: &'static str = "orders";
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Billed {
    order: u32,
}

impl Event for Billed {
    const TYPE: &'static str = "billed";
    const TOPIC: &'static str = "bills";
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Sent {
    order: u32,
}

impl Event for Sent {
    const TYPE: &'static str = "sent";
    const TOPIC: &'static str = "sendings";
}

/// What the services do, and what they have done.
#[derive(Clone, Default)]
struct Doings(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The shop rejects these orders.
    rejected: BTreeSet<u32>,
    /// The topic of the shop's own events does not answer.
    no_sendings: bool,
    /// These services get no answer.
    down: BTreeSet<&'static str>,
    /// The orders that each service has handled, by the order of their handling.
    shop: Vec<u32>,
    witness: Vec<u32>,
    /// The number of the shop's own events.
    sent: usize,
    /// The keys of the calls for bills.
    calls: Vec<String>,
    hangs: bool,
}

impl Doings {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().expect("a lock"))
    }
}

struct Bill(Doings);

impl Effect for Bill {
    type Event = Billed;
    type Call = u32;
    type Outcome = ();

    const SECRETS: &[&str] = &[];

    async fn claim(&self, billed: Billed, _: Context) -> Result<Option<u32>, Failure> {
        Ok(Some(billed.order))
    }

    async fn perform(&self, _: u32, key: String) -> Result<(), Failure> {
        let hangs = self.0.with(|doings| {
            doings.calls.push(key);
            doings.hangs
        });
        if hangs { std::future::pending().await } else { Ok(()) }
    }

    async fn complete(&self, _: u32, (): (), _: Context) -> Result<(), Failure> {
        Ok(())
    }

    async fn abandon(&self, _: u32, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

fn services(doings: &Doings) -> Vec<Service> {
    let (shop, witness) = (doings.clone(), doings.clone());
    vec![
        Service::new("shop", "takes orders").publishes::<Sent>().on(move |ordered: Ordered, cx: Context| {
            let is_rejected = shop.with(|doings| {
                let is_rejected = doings.rejected.contains(&ordered.order);
                doings.shop.extend((!is_rejected).then_some(ordered.order));
                is_rejected
            });
            async move {
                if is_rejected {
                    Err(reject(format_args!("order {} is unknown", ordered.order)))
                } else {
                    cx.publish(&Sent { order: ordered.order });
                    Ok(())
                }
            }
        }),
        Service::new("witness", "sees every order").on(move |ordered: Ordered, _: Context| {
            witness.with(|doings| doings.witness.push(ordered.order));
            async { Ok(()) }
        }),
        Service::new("biller", "charges").effect(Bill(doings.clone())),
    ]
}

/// A deployment.
struct World {
    broker: Broker,
    catalog: Catalog,
    store: Arc<Memory>,
    clock: Clock,
    doings: Doings,
    faults: Arc<Faults>,
    apps: Arc<BTreeMap<String, Router>>,
    pushing: JoinHandle<()>,
}

/// The services' publisher.
struct Outlet {
    broker: Broker,
    doings: Doings,
}

#[async_trait]
impl Publisher for Outlet {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        if message.topic == Sent::TOPIC {
            if self.doings.with(|doings| doings.no_sendings) {
                return Err(PublishError { topic: message.topic, reason: "injected".to_owned() });
            }
            self.doings.with(|doings| doings.sent += 1);
        }
        self.broker.publish(message).await
    }
}

impl World {
    async fn new() -> Self {
        Self::with(DeliveryPolicy::local()).await
    }

    async fn with(policy: DeliveryPolicy) -> Self {
        let doings = Doings::default();
        let catalog = Catalog::of(&[System { name: "test", services: services(&doings) }]);
        let clock = Clock::following_tokio("2026-11-20T12:00:00Z".parse().expect("a time"));
        let now = clock.clone();
        let policy = DeliveryPolicy { max_delivery_attempts: 5, ..policy };
        let broker = Broker::with_clock(&catalog, policy, move || now.now()).expect("filters");
        let store = Arc::new(Memory::new(clock.clone()));
        let outlet = Outlet { broker: broker.clone(), doings: doings.clone() };
        let mut ports = Ports::new(store.clone(), Arc::new(outlet));
        ports.clock = clock.clone();
        let app = |service: Service| (service.name().to_owned(), service.app(ports.clone(), PushAuth::None));
        let apps: Arc<BTreeMap<String, Router>> = Arc::new(services(&doings).into_iter().map(app).collect());
        let pushing = tokio::spawn(push_all(broker.clone(), apps.clone(), doings.clone()));
        let faults = Arc::new(Faults { broker: broker.clone(), next: Mutex::default() });
        Self { broker, catalog, store, clock, doings, faults, apps, pushing }
    }

    fn desk(&self) -> Desk {
        self.desk_with(Receipts::Store(self.store.clone(), self.clock.clone()))
    }

    fn desk_with(&self, receipts: Receipts) -> Desk {
        let names = Names { project: "local".to_owned(), prefix: String::new() };
        let (subscriber, publisher) = (self.faults.clone(), self.faults.clone());
        Desk::new(&self.catalog, None, names, subscriber, publisher, receipts, self.clock.clone())
    }

    async fn order(&self, order: u32) {
        self.publish("orders", "ordered", order).await;
    }

    async fn publish(&self, topic: &str, event_type: &str, order: u32) {
        let attributes = [
            ("ce-id", order.to_string()),
            ("ce-source", "//test".to_owned()),
            ("ce-type", event_type.to_owned()),
        ];
        self.publish_with(topic, &attributes.map(|(name, value)| (name, value)), order).await;
    }

    async fn publish_with(&self, topic: &str, attributes: &[(&str, String)], order: u32) {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let event = if topic == "orders" { "ordered" } else { "billed" };
        let data = format!(r#"{{"order":{order},"event":"{event}"}}"#).into();
        self.broker.publish(Message { topic: topic.to_owned(), attributes, data }).await.expect("published");
    }

    /// Lets the shop reject these orders.
    async fn rejected(&self, orders: impl IntoIterator<Item = u32> + Clone) {
        self.doings.with(|doings| doings.rejected.extend(orders.clone()));
        for order in orders {
            self.order(order).await;
            sleep(Duration::from_secs(1)).await;
        }
        self.quiet().await;
    }

    /// Waits until nothing is due or in flight.
    async fn quiet(&self) {
        while self.broker.with(|topics, _| topics.next_wakeup().is_some()) {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lets a day pass without deliveries.
    async fn a_day_later(&mut self) {
        self.pushing.abort();
        sleep(Duration::from_secs(24 * 60 * 60)).await;
        self.pushing = tokio::spawn(push_all(self.broker.clone(), self.apps.clone(), self.doings.clone()));
    }

    /// Lets the shop handle these orders without a way to publish its own events, until Pub/Sub gives up.
    async fn handled_in_vain(&self, orders: impl IntoIterator<Item = u32>) {
        self.doings.with(|doings| doings.no_sendings = true);
        for order in orders {
            self.order(order).await;
        }
        self.quiet().await;
    }

    fn mend(&self) {
        self.doings.with(|doings| doings.rejected.clear());
    }

    fn letters(&self) -> usize {
        self.broker.with(|topics, _| topics.dead_letters().count())
    }

    fn shop(&self) -> Vec<u32> {
        self.doings.with(|doings| doings.shop.clone())
    }
}

/// Pushes due messages to the services.
async fn push_all(broker: Broker, apps: Arc<BTreeMap<String, Router>>, doings: Doings) {
    loop {
        for delivery in broker.with(Topics::due) {
            let (broker, apps, doings) = (broker.clone(), apps.clone(), doings.clone());
            tokio::spawn(async move {
                let is_down = doings.with(|doings| doings.down.contains(&*delivery.service));
                let request = Request::post("/").body(Body::from(delivery.envelope())).expect("a request");
                let status = match is_down {
                    true => StatusCode::BAD_GATEWAY,
                    false => {
                        apps[&*delivery.service].clone().oneshot(request).await.expect("an answer").status()
                    }
                };
                broker.with(|topics, now| match status.is_success() {
                    true => topics.ack(&delivery.subscription, delivery.id, now),
                    false => topics.nack(&delivery.subscription, delivery.id, "", now),
                });
            });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Pub/Sub's calls, with faults.
struct Faults {
    broker: Broker,
    next: Mutex<VecDeque<Fault<'static>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault<'a> {
    Publish,
    /// The message is published, and the answer is lost.
    PublishAnswer,
    Acknowledge,
    PullFrom(&'a str),
    /// The service is not deployed.
    NoHolder(&'a str),
}

impl Faults {
    fn next(&self, fault: Fault<'static>) {
        self.next.lock().expect("a lock").push_back(fault);
    }

    /// Whether this fault is the next one.
    fn takes(&self, fault: Fault<'_>) -> bool {
        let mut next = self.next.lock().expect("a lock");
        next.front() == Some(&fault) && next.pop_front().is_some()
    }
}

fn failed() -> CallError {
    CallError { reason: "injected".to_owned(), is_missing: false }
}

fn deliveries(ack_ids: &[String]) -> Vec<DeliveryId> {
    ack_ids.iter().map(|id| DeliveryId(id.parse().expect("a number"))).collect()
}

#[async_trait]
impl Subscriber for Faults {
    async fn pull(&self, subscription: &str, most: usize) -> Result<Vec<Pulled>, CallError> {
        if self.takes(Fault::PullFrom(subscription)) {
            return Err(failed());
        }
        if self.takes(Fault::NoHolder(subscription)) {
            return Err(CallError { is_missing: true, ..failed() });
        }
        let pulled =
            self.broker.with(|topics, now| topics.pull(subscription, most, now)).map_err(|_| failed())?;
        let pulled = pulled.into_iter().map(|delivery| Pulled {
            ack_id: delivery.id.0.to_string(),
            message_id: delivery.message.id(),
            attributes: delivery.message.attributes.clone(),
            data: delivery.message.data.clone(),
            publish_time: delivery.message.publish_time,
        });
        Ok(pulled.collect())
    }

    async fn lease(&self, subscription: &str, ack_ids: &[String], time: Duration) -> Result<(), CallError> {
        let ids = deliveries(ack_ids);
        self.broker
            .with(|topics, now| topics.modify_ack_deadline(subscription, &ids, time, now))
            .map_err(|_| failed())
    }

    async fn acknowledge(&self, subscription: &str, ack_ids: &[String]) -> Result<(), CallError> {
        if self.takes(Fault::Acknowledge) {
            return Err(failed());
        }
        for id in deliveries(ack_ids) {
            self.broker.with(|topics, now| topics.ack(subscription, id, now));
        }
        Ok(())
    }
}

#[async_trait]
impl Publisher for Faults {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        let error = PublishError { topic: message.topic.clone(), reason: "injected".to_owned() };
        if self.takes(Fault::Publish) {
            return Err(error);
        }
        let published = self.broker.publish(message).await;
        if self.takes(Fault::PublishAnswer) { Err(error) } else { published }
    }
}

const OPTIONS: Options =
    Options { canary: 1, pause: Duration::from_millis(100), max_failures: 1, wait: Duration::from_secs(30) };

/// Replays everything with a new desk, and gives the rest back.
async fn replay_all(world: &World, options: Options) -> Report {
    replay_from(world.desk(), options).await
}

async fn replay_from(mut desk: Desk, options: Options) -> Report {
    let letters = desk.gather().await.expect("letters");
    let report = replay(&mut desk, letters, "r-1", options, |_| {}).await;
    desk.close().await;
    report
}

#[tokio::test(start_paused = true)]
async fn a_replay_reaches_only_the_service_that_failed() {
    let world = World::new().await;
    world.rejected(1..=13).await;
    assert_eq!(world.letters(), 13);
    world.mend();
    let mut desk = world.desk();
    let letters = desk.gather().await.expect("letters");
    let mut batches = Vec::new();
    let began = Instant::now();
    let report = replay(&mut desk, letters, "r-1", OPTIONS, |told: &Told| {
        if told.published == told.size && told.handled == told.size {
            batches.push((told.is_canary, told.size));
        }
    })
    .await;
    assert_eq!((report.handled, report.unsent, report.exit_code()), (13, 0, 0), "{report:?}");
    assert_eq!(batches, [(true, 1), (false, 10), (false, 2)]);
    assert!(began.elapsed() >= 13 * OPTIONS.pause, "faster than the rate");
    world.quiet().await;
    assert_eq!(world.letters(), 0);
    assert_eq!(world.shop(), (1..=13).collect::<Vec<_>>(), "the oldest first");
    assert_eq!(world.doings.with(|doings| doings.witness.len()), 13, "no replay concerns another service");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_comes_back_stops_the_replay() {
    let world = World::new().await;
    world.rejected(1..=5).await;
    let report = replay_all(&world, OPTIONS).await;
    assert_eq!((report.stop.clone(), report.exit_code(), report.unsent), (Some(Stop::Canary), 3, 4));
    assert_eq!(report.came_back[0].reason, "order 1 is unknown");
    assert_eq!(world.letters(), 5);
    let letters = world.desk().gather().await.expect("letters");
    let again = letters.last().expect("a letter");
    assert_eq!((again.came_back, again.replay.as_deref()), (1, Some("r-1")));
    assert_eq!(groups(&letters).len(), 1, "the numbers in a reason make no group");
    assert_eq!(groups(&letters)[0].came_back, 1);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_is_told_to_stop_gives_back_what_it_has_not_sent() {
    let world = World::new().await;
    world.rejected(1..=13).await;
    world.mend();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let mut desk = world.desk().until(stopped.map(drop));
    let letters = desk.gather().await.expect("letters");
    let report = replay(&mut desk, letters, "r-1", OPTIONS, |told: &Told| {
        if !told.is_canary && told.published == 2 {
            drop(stop.take());
        }
    })
    .await;
    assert_eq!((report.stop.clone(), report.exit_code()), (Some(Stop::Interrupted), 130), "{report:?}");
    assert_eq!((report.handled + report.pending.len(), report.unsent), (3, 10), "{report:?}");
    let removal = drop_letters(&mut desk, &world.desk().gather().await.expect("letters"), |_| Ok(())).await;
    assert_eq!(removal.dropped, 0);
    desk.close().await;
    assert_eq!(world.desk().gather().await.expect("letters").len(), 10);
}

/// The receipt is there before the replay, so it is no verdict.
#[tokio::test(start_paused = true)]
async fn an_event_that_was_handled_before_is_published_again_without_a_verdict() {
    // The fifth delivery comes after four seconds.
    let policy = DeliveryPolicy { max_backoff: Duration::from_secs(1), ..DeliveryPolicy::local() };
    let world = World::with(policy).await;
    world.handled_in_vain(1..=12).await;
    assert_eq!(world.letters(), 12);

    let report = replay_all(&world, OPTIONS).await;
    assert_eq!((report.stop.clone(), report.exit_code(), report.unsent), (Some(Stop::Canary), 3, 11));
    assert_eq!((report.handled, report.republished, report.came_back.len()), (0, 0, 1), "{report:?}");
    assert_eq!((world.letters(), world.doings.with(|doings| doings.sent)), (12, 0));

    world.doings.with(|doings| doings.no_sendings = false);
    let mut batches = Vec::new();
    let began = Instant::now();
    let mut desk = world.desk();
    let letters = desk.gather().await.expect("letters");
    let report = replay(&mut desk, letters, "r-2", OPTIONS, |told: &Told| {
        if told.republished == told.size {
            batches.push((told.size, began.elapsed().as_secs()));
        }
    })
    .await;
    assert_eq!((report.handled, report.republished, report.exit_code()), (0, 12, 0), "{report:?}");
    assert_eq!((world.letters(), world.doings.with(|doings| doings.sent)), (0, 12));
    let sizes: Vec<usize> = batches.iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes, [1, 10, 1]);
    assert!(batches[0].1 >= 10 && batches[2].1 < 40, "a batch waits about 10 s: {batches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_receipt_cannot_be_read_is_not_published() {
    let world = World::new().await;
    world.rejected(1..=3).await;
    world.mend();
    let receipts = Receipts::LocalStack(LocalStack::at("http://127.0.0.1:1").expect("a client"));
    let report = replay_from(world.desk_with(receipts), OPTIONS).await;
    assert!(matches!(&report.stop, Some(Stop::NotPublished(why)) if why.contains("receipt")), "{report:?}");
    assert_eq!((report.exit_code(), report.unsent, world.letters(), world.shop().len()), (1, 3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_replay_stops_when_too_many_letters_come_back() {
    let world = World::new().await;
    world.rejected(1..=20).await;
    for (most, expected) in [(1, (9, 2, 9)), (2, (9, 2, 0))] {
        world.doings.with(|doings| doings.rejected = [3, 4].into());
        let report = replay_all(&world, Options { max_failures: most, ..OPTIONS }).await;
        assert_eq!((report.handled, report.came_back.len(), report.unsent), expected, "{report:?}");
        world.mend();
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_without_a_verdict_stops_and_is_pending() {
    let world = World::new().await;
    world.rejected(1..=5).await;
    world.mend();
    world.doings.with(|doings| doings.down = ["shop"].into());
    let report = replay_all(&world, Options { wait: Duration::from_secs(5), ..OPTIONS }).await;
    assert_eq!((report.stop.clone(), report.exit_code()), (Some(Stop::Failures), 5));
    assert_eq!((report.pending.len(), report.unsent), (1, 4));
    assert_eq!(world.letters(), 4, "Pub/Sub is still delivering one of them");
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_perhaps_not_published_stays() {
    for fault in [Fault::Publish, Fault::PublishAnswer] {
        let world = World::new().await;
        world.rejected(1..=3).await;
        world.mend();
        world.faults.next(fault);
        let report = replay_all(&world, OPTIONS).await;
        assert!(matches!(report.stop, Some(Stop::NotPublished(_))), "{report:?}");
        assert_eq!((report.exit_code(), report.unsent, world.letters()), (1, 3, 3));
        world.quiet().await;
        let report = replay_all(&world, OPTIONS).await;
        let is_published = usize::from(fault == Fault::PublishAnswer);
        assert_eq!((report.handled, report.republished), (3 - is_published, is_published), "{report:?}");
        world.quiet().await;
        assert_eq!(world.letters(), 0);
        let receipts = world.store_receipts("shop").await;
        assert_eq!(receipts, 3, "the second replay of an order is dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_not_removed_comes_again_and_its_replay_is_dropped() {
    let world = World::new().await;
    world.rejected([1]).await;
    world.mend();
    world.faults.next(Fault::Acknowledge);
    let report = replay_all(&world, OPTIONS).await;
    assert_eq!((report.handled, report.not_removed.len(), world.letters()), (1, 1, 1));
    sleep(Duration::from_secs(61)).await;
    let mut desk = world.desk();
    let letters = desk.gather().await.expect("letters");
    let (letters, plan) = plan(&mut desk, letters).await;
    assert_eq!(plan.handled.len(), 1, "the person sees that it is handled");
    let report = replay(&mut desk, letters, "r-2", OPTIONS, |_| {}).await;
    assert_eq!((report.republished, world.letters()), (1, 0));
    world.quiet().await;
    assert_eq!(world.store_receipts("shop").await, 1);
}

impl World {
    async fn store_receipts(&self, service: &str) -> usize {
        let collection = pushbox::Path::collection_of(service, "receipts");
        let query = pushbox::store::Query { collection, limit: 1000, ..Default::default() };
        pushbox::store::Store::list(&*self.store, &query).await.expect("a list").len()
    }
}

/// Pub/Sub gives a message that it moves a new id, so a message without `ce-id` loses its identity.
#[tokio::test(start_paused = true)]
async fn all_replays_of_a_letter_that_pubsub_moved_are_the_same_event() {
    let world = World::new().await;
    world.doings.with(|doings| doings.down = ["shop"].into());
    world.publish_with("orders", &[], 7).await;
    world.quiet().await;
    world.doings.with(|doings| doings.down.clear());
    let letters = world.desk().gather().await.expect("letters");
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.code.as_str(), letter.event_type.as_deref()), ("unanswered", Some("ordered")));
    sleep(Duration::from_secs(61)).await;
    world.faults.next(Fault::Acknowledge);
    assert_eq!(replay_all(&world, OPTIONS).await.handled, 1);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(replay_all(&world, OPTIONS).await.republished, 1);
    world.quiet().await;
    assert_eq!((world.letters(), world.store_receipts("shop").await), (0, 1));
    assert_eq!(world.doings.with(|doings| doings.witness.clone()), [7]);
}

#[tokio::test(start_paused = true)]
async fn two_people_hold_different_letters_until_one_gives_them_back() {
    let world = World::new().await;
    world.rejected(1..=3).await;
    let (mut first, mut second) = (world.desk(), world.desk());
    assert_eq!(first.gather().await.expect("letters").len(), 3);
    assert_eq!(second.gather().await.expect("letters").len(), 0);
    // Longer than any lease.
    assert!(timeout(Duration::from_secs(600), first.keep()).await.is_err());
    assert_eq!(second.gather().await.expect("letters").len(), 0, "a desk renews its leases");
    first.close().await;
    assert_eq!(second.gather().await.expect("letters").len(), 3);
    drop(second);
    // As if its process had died.
    sleep(Duration::from_secs(61)).await;
    assert_eq!(world.desk().gather().await.expect("letters").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_does_not_answer_hides_no_letters_of_the_others() {
    let world = World::new().await;
    world.rejected([1]).await;
    world.faults.next(Fault::PullFrom("biller-dead-letter"));
    let mut desk = world.desk();
    desk.gather().await.expect_err("a holder does not answer");
    desk.close().await;
    assert_eq!(world.desk().gather().await.expect("all holders answer").len(), 1, "the letter is back");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_deployed_hides_no_letters_of_the_others() {
    let world = World::new().await;
    world.rejected([1]).await;
    world.faults.next(Fault::NoHolder("biller-dead-letter"));
    assert_eq!(world.desk().gather().await.expect("letters").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_another_service_missed_is_no_letter_to_replay() {
    let world = World::new().await;
    world.rejected([1]).await;
    world.mend();
    world.doings.with(|doings| doings.down = ["witness"].into());
    assert_eq!(replay_all(&world, OPTIONS).await.handled, 1);
    world.quiet().await;
    let mut desk = world.desk();
    let letters = desk.gather().await.expect("letters");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].target, Err(Unreplayable::ForAnother("shop".to_owned())));
    let (letters, plan) = plan(&mut desk, letters).await;
    assert_eq!((letters.len(), plan.left_out.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_letter_of_a_type_that_its_service_does_not_handle_is_left_out() {
    let world = World::new().await;
    world.doings.with(|doings| doings.down = ["shop"].into());
    // The filter of a subscription may pass more types than the service handles.
    let data = r#"{"event":"counted"}"#.into();
    let message = Message { topic: "orders".to_owned(), attributes: BTreeMap::new(), data };
    world.broker.publish(message).await.expect("published");
    world.order(7).await;
    world.quiet().await;
    world.doings.with(|doings| doings.down.clear());
    let report = replay_all(&world, OPTIONS).await;
    assert_eq!((report.handled, report.pending.len(), world.letters()), (1, 0, 1), "{report:?}");
    sleep(Duration::from_secs(61)).await;
    let mut desk = world.desk();
    let letters = desk.gather().await.expect("letters");
    let (_, plan) = plan(&mut desk, letters).await;
    let why: Vec<&str> = plan.left_out.iter().map(|letter| &*letter.why).collect();
    assert_eq!(why, ["the service does not handle counted"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_made_a_day_ago_is_a_warning() {
    let mut world = World::new().await;
    world.doings.with(|doings| doings.hangs = true);
    world.publish("bills", "billed", 1).await;
    world.quiet().await;
    world.doings.with(|doings| doings.hangs = false);
    let mut desk = world.desk();
    let letters = desk.gather().await.expect("letters");
    assert_eq!(letters[0].code, "unanswered");
    let (letters, early) = plan(&mut desk, letters).await;
    assert_eq!(early.may_call_twice, Vec::<String>::new());
    world.a_day_later().await;
    let (letters, late) = plan(&mut desk, letters).await;
    assert_eq!(late.may_call_twice, [letters[0].id.clone()]);
    desk.close().await;
    assert_eq!(replay_all(&world, OPTIONS).await.handled, 1);
    let keys: BTreeSet<String> = world.doings.with(|doings| doings.calls.iter().cloned().collect());
    assert_eq!(keys.len(), 1, "a replay repeats the call with the same key");
}

#[tokio::test(start_paused = true)]
async fn a_selection_excludes_letters_from_after_the_cut_off() {
    let world = World::new().await;
    world.rejected([1]).await;
    let cut_off = world.clock.now();
    sleep(Duration::from_secs(1)).await;
    world.rejected([2]).await;
    let letters = world.desk().gather().await.expect("letters");
    let group = groups(&letters)[0].group.clone();
    let by = |selection: Selection| letters.iter().filter(|letter| selection.picks(letter)).count();
    let all = Selection::default;
    for (selection, expected) in [
        (all(), 2),
        (Selection { before: Some(cut_off), ..all() }, 1),
        (Selection { since: Some(cut_off), ..all() }, 1),
        (Selection { group: Some(group), ..all() }, 2),
        (Selection { group: Some("000000".to_owned()), ..all() }, 0),
        (Selection { service: Some("shop".to_owned()), code: Some("rejected".to_owned()), ..all() }, 2),
        (Selection { service: Some("witness".to_owned()), ..all() }, 0),
        (Selection { event_type: Some("ordered".to_owned()), ..all() }, 2),
        (Selection { event_type: Some("billed".to_owned()), ..all() }, 0),
        (Selection { ids: [letters[0].id.clone()].into(), ..all() }, 1),
    ] {
        assert_eq!(by(selection.clone()), expected, "{selection:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn letters_are_dropped_only_after_their_export() {
    let world = World::new().await;
    world.rejected(1..=3).await;
    let mut desk = world.desk();
    let letters = desk.gather().await.expect("letters");
    let removal =
        drop_letters(&mut desk, &letters, |_| Err(io::Error::from(io::ErrorKind::StorageFull))).await;
    assert_eq!((removal.dropped, removal.left, world.letters()), (0, 3, 3));
    let mut exported = String::new();
    let removal = drop_letters(&mut desk, &letters, |lines| {
        assert_eq!(world.letters(), 3, "they are still there");
        exported += lines;
        Ok(())
    })
    .await;
    assert_eq!((removal.dropped, removal.left, world.letters()), (3, 0, 0), "{removal:?}");
    let lines: Vec<serde_json::Value> =
        exported.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["attributes"]["ce-id"], "1");
    assert_eq!(lines[0]["data"], "eyJvcmRlciI6MSwiZXZlbnQiOiJvcmRlcmVkIn0=");
}

#[tokio::test(start_paused = true)]
async fn data_is_masked() {
    let world = World::new().await;
    world.rejected([1]).await;
    let letters: Vec<Letter> = world.desk().gather().await.expect("letters");
    assert_eq!(letters[0].payload(false), r#"{"event":"ordered","order":"…"}"#);
    assert_eq!(letters[0].payload(true), r#"{"order":1,"event":"ordered"}"#);
    assert_eq!(letters[0].attributes[attribute::DEAD_LETTER_SERVICE], "shop");
    assert!(letters[0].parked_at > Timestamp::UNIX_EPOCH);
}
