//! Replays of dead letters: two people work at the same time, their processes die at any step, and letters arrive
//! meanwhile. Each letter is handled once in the end, and no other service notices a replay.

use std::time::Duration;

use pushbox::{
    Command, Context, Document, Effect, Event, Failure, Ports, Problem, Reply, Service, System, reject,
    store::Fields,
};
use redrive::Options;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use simulation::{NoAnswer, Outside, Repeats, Scenario, World};

/// The parcels with an event id.
const PARCELS: i64 = 4;

/// The parcels that a person publishes by hand.
const BY_HAND: i64 = 2;

/// How often each person replays while faults happen.
const RUNS: usize = 3;

/// How often a person replays after the faults at most.
const MOST_RUNS: usize = 20;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Parcel {
    number: i64,
}

impl Event for Parcel {
    const TYPE: &'static str = "parcel";
    const TOPIC: &'static str = "parcel-events";
}

/// Without it, a service rejects every parcel.
#[derive(Serialize, Deserialize)]
struct Gate {
    is_open: bool,
}

impl Document for Gate {
    const COLLECTION: &'static str = "gates";
    fn id(&self) -> String {
        "gate".to_owned()
    }
}

#[derive(Serialize, Deserialize)]
struct Tally {
    count: i64,
    sum: i64,
}

impl Document for Tally {
    const COLLECTION: &'static str = "tallies";
    fn id(&self) -> String {
        "all".to_owned()
    }
}

async fn open(command: Command<Parcel>) -> Result<Reply, Problem> {
    command
        .run((), |(), cx| async move {
            cx.put(&Gate { is_open: true });
            Ok(Reply::ok(&true))
        })
        .await
}

async fn expect_gate(cx: &Context) -> Result<(), Failure> {
    match cx.get::<Gate>("gate").await? {
        Some(_) => Ok(()),
        None => Err(reject("the gate is closed")),
    }
}

fn tally(parcel: &Parcel, cx: &Context) {
    cx.add(&Tally { count: 1, sum: parcel.number }, &["count", "sum"]);
}

async fn store(parcel: Parcel, cx: Context) -> Result<(), Failure> {
    expect_gate(&cx).await?;
    tally(&parcel, &cx);
    Ok(())
}

async fn watch(parcel: Parcel, cx: Context) -> Result<(), Failure> {
    tally(&parcel, &cx);
    Ok(())
}

/// Its call must not be repeated.
struct Ship {
    outside: Outside,
}

impl Effect for Ship {
    type Event = Parcel;
    type Call = Parcel;
    type Outcome = bool;

    const SECRETS: &[&str] = &[];

    async fn claim(&self, parcel: Parcel, cx: Context) -> Result<Option<Parcel>, Failure> {
        expect_gate(&cx).await?;
        Ok(Some(parcel))
    }

    async fn perform(&self, parcel: Parcel, key: String) -> Result<bool, Failure> {
        let payload = Fields::from_iter([("number".to_owned(), parcel.number.into())]);
        match self.outside.call(Repeats::Harmful, &key, payload).await {
            Ok(()) => Ok(true),
            Err(NoAnswer::NotReached) => Err(Failure::Retry("the outside is not reachable".to_owned())),
            Err(NoAnswer::Unknown) => Ok(false),
        }
    }

    async fn complete(&self, parcel: Parcel, _: bool, cx: Context) -> Result<(), Failure> {
        tally(&parcel, &cx);
        Ok(())
    }

    async fn abandon(&self, _: Parcel, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

struct Depot;

impl Scenario for Depot {
    const PERSONAL: &'static [&'static str] = &[];

    fn systems(_: &Ports, outside: &Outside) -> Vec<System> {
        let services = vec![
            Service::new("shelf", "keeps parcels while its gate is open").on(store).post("/gate", open),
            Service::new("truck", "ships parcels while its gate is open")
                .effect(Ship { outside: outside.clone() })
                .post("/gate", open),
            Service::new("watcher", "sees every parcel").on(watch),
        ];
        vec![System { name: "depot", services }]
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let options = Options {
            canary: 1,
            pause: Duration::from_millis(100),
            max_failures: 100,
            wait: Duration::from_secs(5),
        };
        let send = |number: i64| {
            let (data, id) = (json!({ "number": number, "event": "parcel" }), number.to_string());
            match number < 1 << PARCELS {
                true => {
                    let attributes = [("ce-type", "parcel"), ("ce-id", &*id), ("ce-source", "//depot")];
                    world.publish("parcel-events", &attributes, &data);
                }
                false => world.publish_by_hand("parcel-events", &data),
            }
        };
        // Each parcel is a different power of two, so the sum shows which parcels are in it.
        let sending = async {
            for number in 0..PARCELS + BY_HAND {
                send(1 << number);
                world.pause_up_to(Duration::from_secs(20)).await;
            }
        };
        let opening = async |service: &str| {
            world.pause_up_to(Duration::from_secs(120)).await;
            world.insist(service, "/gate", service, &json!({ "number": 0 })).await;
        };
        let replaying = async |person: &str| {
            for run in 0..RUNS {
                world.pause_up_to(Duration::from_secs(60)).await;
                world.replay(person, &format!("{person}-{run}"), options).await;
            }
        };
        futures::join!(sending, opening("shelf"), opening("truck"), replaying("ann"), replaying("ben"));
        world.calm().await?;
        for run in 0.. {
            if world.dead_letters().is_empty() {
                break;
            }
            if run == MOST_RUNS {
                return Err(format!("every letter is replayed in the end: {:?}", world.dead_letters()));
            }
            world.replay("zoe", &format!("zoe-{run}"), options).await;
            // A process that died has hidden its letters for a minute.
            world.advance(Duration::from_secs(90)).await;
        }
        world.settle().await?;
        let expected = (PARCELS + BY_HAND, (1 << (PARCELS + BY_HAND)) - 1);
        for service in ["shelf", "truck", "watcher"] {
            let tallies = world.documents(&format!("{service}/tallies")).await;
            let number = |name: &str| tallies.first().and_then(|tally| tally[name].as_i64()).unwrap_or(0);
            let found = (number("count"), number("sum"));
            if found != expected {
                return Err(format!(
                    "each letter is handled once: {service} has {found:?}, expected {expected:?}"
                ));
            }
        }
        Ok(())
    }
}

#[test]
fn each_letter_is_handled_once_or_still_there() {
    let counts = simulation::check(&Depot);
    // A small number of worlds does not contain all faults of a replay.
    let missing = counts.missing();
    let of_replays = missing
        .iter()
        .filter(|(step, _)| matches!(step, simulation::Step::Pull | simulation::Step::Acknowledge));
    assert!(counts.worlds < simulation::SEEDS || of_replays.count() == 0, "never happened: {missing:?}");
}
