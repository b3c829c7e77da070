//! The adapter for Cloud Tasks, over HTTP against the stand-in, whose tasks publish to the broker's REST API.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use catalog::Catalog;
use jiff::Timestamp;
use local::{Broker, DeliveryPolicy, Stack, Tasks};
use pushbox::{
    Context, Event, Failure, Message, Service, System,
    timers::{CloudTasks, Timer, Timers},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

const SERVICE: &str = "clock-service";

const QUEUE: &str = "clock-service-timers";

#[derive(Serialize, Deserialize, JsonSchema)]
struct Rang {
    number: u32,
}

impl Event for Rang {
    const TYPE: &'static str = "rang";
    const TOPIC: &'static str = "clock-events";
}

async fn ignore(_: Rang, _: Context) -> Result<(), Failure> {
    Ok(())
}

/// A stand-in on its own port, whose tasks publish to a broker.
struct World {
    broker: Broker,
    tasks: Tasks,
    timers: CloudTasks,
}

impl World {
    async fn start() -> Self {
        let service = Service::new(SERVICE, "rings").delays::<Rang>().on(ignore);
        let catalog = Catalog::of(&[System { name: "clock", services: vec![service] }]);
        let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
        let tasks = Tasks::new(&catalog, Arc::new(broker.clone()));
        let stack = Stack::on_broker(&catalog, broker.clone(), []).with_tasks(tasks.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(axum::serve(listener, stack.app()).into_future());
        tokio::spawn(tasks.clone().run());
        let timers = timers(QUEUE, &host);
        Self { broker, tasks, timers }
    }

    /// The messages that the service's subscription holds.
    fn published(&self) -> Vec<Message> {
        let recent = self.broker.with(|topics, _| topics.recent().iter().cloned().collect::<Vec<_>>());
        let message = |event: local::broker::RecentEvent| Message {
            topic: event.message.topic.clone(),
            attributes: event.message.attributes.clone(),
            data: event.message.data.clone(),
        };
        recent.into_iter().map(message).collect()
    }

    fn waiting(&self) -> Vec<String> {
        self.tasks.with(|queues, _| queues.ids(QUEUE))
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let waited = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited).await.expect("the condition holds in time");
    }
}

fn timers(queue: &str, host: &str) -> CloudTasks {
    CloudTasks::emulated(&format!("projects/p/locations/l/queues/{queue}"), "local", host, host)
}

fn timer(id: &str, at: Timestamp) -> Timer {
    let attributes = [("ce-type", "rang"), ("ce-id", id), ("note", "ünïcode")];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let message =
        Message { topic: "clock-events".to_owned(), attributes, data: b"{\"number\":1}".to_vec().into() };
    Timer { service: SERVICE, id: id.to_owned(), at, message }
}

fn later(hours: i64) -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(hours)
}

#[tokio::test]
async fn a_due_task_is_the_publish_call_of_its_message() {
    let world = World::start().await;
    let due = timer("a", Timestamp::now());
    world.timers.set(due.clone()).await.unwrap();
    world.until(|world| !world.published().is_empty()).await;
    assert_eq!(world.published(), [due.message]);
    world.until(|world| world.waiting().is_empty()).await;
}

#[tokio::test]
async fn a_name_is_set_once_and_cancelled_once() {
    let world = World::start().await;
    for _ in 0..2 {
        world.timers.set(timer("a", later(1))).await.unwrap();
    }
    assert_eq!(world.waiting(), ["a"]);
    for _ in 0..2 {
        world.timers.cancel(SERVICE, "a").await.unwrap();
    }
    assert_eq!(world.waiting(), Vec::<String>::new());
    // The runtime repeats a call whose answer was lost. A timer that was cancelled stays cancelled.
    world.timers.set(timer("a", later(1))).await.unwrap();
    assert_eq!(world.waiting(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_timer_is_restored() {
    let world = World::start().await;
    world.timers.set(timer("a", later(1))).await.unwrap();
    assert!(!world.timers.restore(&timer("a", later(1))).await.unwrap(), "it is there");
    world.tasks.with(|queues, _| queues.purge(QUEUE)).unwrap();
    assert!(world.timers.restore(&timer("a", later(1))).await.unwrap(), "its name cannot be used again");
    assert!(!world.timers.restore(&timer("a", later(1))).await.unwrap(), "it is there again");
    assert_eq!(world.waiting(), ["a-1"]);
    world.tasks.with(|queues, _| queues.purge(QUEUE)).unwrap();
    assert!(world.timers.restore(&timer("a", later(1))).await.unwrap(), "it is lost once more");
    assert!(world.timers.restore(&timer("b", later(1))).await.unwrap(), "it never was");
    assert_eq!(world.waiting(), ["a-2", "b"]);
}

#[tokio::test]
async fn what_cloud_tasks_refuses_is_an_error() {
    let world = World::start().await;
    let too_far = world.timers.set(timer("a", later(721))).await.unwrap_err();
    assert!(too_far.to_string().contains("720 hours"), "{too_far}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let silent = timers(QUEUE, &host).with_deadline(Duration::from_millis(100));
    let no_answer = silent.set(timer("a", later(1))).await.unwrap_err();
    assert_eq!(no_answer.to_string(), "the timers of clock-service do not answer: no answer in time");

    let catalog = Catalog::of(&[]);
    let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
    let tasks = Tasks::new(&catalog, Arc::new(broker));
    tokio::spawn(axum::serve(listener, tasks.app()).into_future());
    for result in [
        timers("other", &host).set(timer("a", later(1))).await,
        timers("other", &host).restore(&timer("a", later(1))).await.map(drop),
    ] {
        let unknown = result.unwrap_err();
        assert!(unknown.to_string().contains("there is no queue other"), "{unknown}");
    }
}
