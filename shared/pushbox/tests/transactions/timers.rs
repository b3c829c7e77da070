//! Events that are published at a later time.

use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use pushbox::{Command, Context, Problem, Reply, Service, timers, wire::limit};
use serde_json::{Value, json};

use crate::suite::{Count, Fault, Placed, Pushed, Refusal, SERVICE, Shipped, World, count, counts, service};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.saturating_add(pause).expect("a time")
}

/// Runs `stage` for each order.
fn staging(stage: fn(&Placed, &Context)) -> Service {
    service().delays::<Shipped>().on(move |placed: Placed, cx: Context| {
        cx.add(&count("orders", 1), &["n"]);
        stage(&placed, &cx);
        async { Ok(()) }.boxed()
    })
}

fn shipped(placed: &Placed) -> Shipped {
    Shipped { order: placed.order.clone() }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_event_is_a_timer_with_the_attributes_of_an_immediate_one() {
    let world = World::new();
    let running = world.run(staging(|placed, cx| {
        cx.publish(&shipped(placed));
        cx.publish_at(&shipped(placed), after(cx.now(), HOUR));
    }));
    let began = world.now();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.store.take_calls(), (1, 0));
    let (now, later) = (world.published.only(), world.timers.only());
    assert_eq!(later.at, after(began, HOUR));
    assert_eq!((&later.message.topic, &later.message.data), (&now.topic, &now.data));
    assert_eq!(later.message.attributes["ce-time"], later.at.to_string());
    let names = |message: &pushbox::Message| message.attributes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&later.message), names(&now));
    assert_ne!(later.message.attributes["ce-id"], now.attributes["ce-id"]);
    let receipt = world.receipt().await;
    assert_eq!(receipt["timersDue"], "2026-11-20");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_sets_the_same_timer_once_more() {
    let world = World::new();
    let running = world.run(staging(|placed, cx| cx.publish_at(&shipped(placed), after(cx.now(), HOUR))));
    // The process dies before the timer is set, or its answer is lost: the redelivery sets it.
    world.timers.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    for _ in 0..2 {
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
    }
    let set = world.timers.set();
    assert_eq!((set.len(), set[0] == set[1]), (2, true));
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
}

#[tokio::test(start_paused = true)]
async fn what_no_timer_can_do_commits_nothing() {
    let day = 24 * HOUR;
    let cases: [(&str, Service); 5] = [
        (
            "is due in more than 29 days",
            staging(|placed, cx| cx.publish_at(&shipped(placed), after(cx.now(), 30 * 24 * HOUR))),
        ),
        (
            "does not declare that it delays order.shipped",
            service().publishes::<Shipped>().on(|placed: Placed, cx: Context| {
                cx.publish_at(&shipped(&placed), after(cx.now(), HOUR));
                async { Ok(()) }
            }),
        ),
        (
            "does not declare that it delays order.shipped",
            service().publishes::<Shipped>().on(|placed: Placed, cx: Context| {
                cx.cancel::<Shipped>(&placed.order);
                async { Ok(()) }
            }),
        ),
        (
            "is too large for a timer",
            staging(|_, cx| {
                let order = "x".repeat(limit::TIMER_DATA_BYTES);
                cx.publish_at(&Shipped { order }, after(cx.now(), HOUR));
            }),
        ),
        (
            "has a name that was cancelled",
            staging(|placed, cx| {
                cx.cancel::<Shipped>(&placed.order);
                cx.publish_at_named(&shipped(placed), after(cx.now(), HOUR), &placed.order);
            }),
        ),
    ];
    for (reason, service) in cases {
        let world = World::new();
        let running = world.run(service);
        assert_eq!(running.push(&Pushed::order("a")).await, 503, "{reason}");
        assert!(world.documents("receipts").await.is_empty() && world.timers.set().is_empty(), "{reason}");
    }
    let world = World::new();
    let just_in_time = staging(|placed, cx| cx.publish_at(&shipped(placed), after(cx.now(), 29 * 24 * HOUR)));
    assert_eq!(world.run(just_in_time).push(&Pushed::order("a")).await, 204);
    assert_eq!(world.timers.only().at, after(world.now(), 29 * day));
}

/// Sets a named timer for the first event of an order, and cancels it for the second one.
fn reserving() -> Service {
    service().delays::<Shipped>().on(|placed: Placed, cx: Context| async move {
        match cx.get::<Count>(&placed.order).await? {
            None => cx.publish_at_named(&shipped(&placed), after(cx.now(), HOUR), &placed.order),
            Some(_) => cx.cancel::<Shipped>(&placed.order),
        }
        cx.add(&count(&placed.order, 1), &["n"]);
        Ok(())
    })
}

#[tokio::test(start_paused = true)]
async fn a_timer_is_cancelled_by_its_name() {
    let world = World::new();
    let running = world.run(reserving());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let id = world.timers.only().id;
    assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let second = Pushed::order("a").with("ce-id", "second");
    assert_eq!(running.push(&second).await, 204);
    assert_eq!(world.timers.cancelled(), [id]);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_that_fails_is_only_logged() {
    let world = World::new();
    let running = world.run(reserving());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    world.timers.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a").with("ce-id", "second")).await, 204);
    assert_eq!(world.timers.cancelled(), Vec::<String>::new());
    assert_eq!(world.counts().await, counts(&[("a", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_set_and_cancelled_in_one_commit_is_not_set() {
    let world = World::new();
    let running = world.run(staging(|placed, cx| {
        cx.publish(&shipped(placed));
        cx.publish_at_named(&shipped(placed), after(cx.now(), HOUR), &placed.order);
        cx.publish(&shipped(placed));
        cx.cancel::<Shipped>(&placed.order);
        cx.publish(&shipped(placed));
    }));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.timers.set(), []);
    assert_eq!((world.published.len(), world.published.ids().len()), (3, 3), "each event has its own id");
}

async fn order(command: Command<Value>) -> Result<Reply, Problem> {
    command
        .run((), |(), cx| async move {
            cx.publish_at(&Shipped { order: "a".to_owned() }, after(cx.now(), HOUR));
            Ok(Reply::accepted(&json!({})))
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn the_relay_sets_the_timers_of_a_command() {
    let world = World::new();
    let running = world.run(service().delays::<Shipped>().post("/orders", order));
    world.timers.next(&[Refusal::Fails]);
    assert_eq!(running.post("/orders", &[], &json!({})).await.status, 202);
    assert_eq!(world.timers.set(), []);
    assert_eq!(world.receipt().await["pending"], true);

    tokio::time::sleep(Duration::from_secs(20)).await;
    let relayed = running.post("/relay", &[], &json!({})).await;
    assert_eq!((relayed.status, &relayed.body["events"]), (200, &json!(1)));
    assert_eq!(world.timers.set().len(), 1);
    assert_eq!(world.receipt().await["pending"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_lost_commit_sets_one_timer() {
    let world = World::new();
    let running = world.run(staging(|placed, cx| cx.publish_at(&shipped(placed), after(cx.now(), HOUR))));
    world.store.next([Fault::AnswerLost]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.timers.set().len(), 1);
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
}

#[tokio::test(start_paused = true)]
async fn the_receipts_know_the_timers_that_a_queue_has_lost() {
    const DAYS: [u64; 4] = [0, 1, 28, 29];
    let world = World::new();
    let running = world.run(staging(|placed, cx| {
        cx.publish(&shipped(placed));
        let days = u32::try_from(DAYS[placed.order.len() - 1]).expect("few days");
        cx.publish_at(&shipped(placed), after(cx.now(), days * 24 * HOUR));
    }));
    for order in ["a", "bb", "ccc", "dddd"] {
        assert_eq!(running.push(&Pushed::order(order)).await, 204);
    }
    let now = world.now();
    for (since, expected) in [
        (after(now, Duration::ZERO), &DAYS[..]),
        (after(now, HOUR), &DAYS[1..]),
        (after(now, 25 * HOUR), &DAYS[2..]),
        (after(now, 30 * 24 * HOUR), &[]),
        (now.saturating_sub(7 * 24 * HOUR).expect("a time"), &DAYS[..]),
    ] {
        let staged = timers::staged(&*world.store, SERVICE, since, now).await.expect("the receipts");
        let set = world.timers.set();
        assert!(staged.iter().all(|timer| set.contains(timer)), "{staged:?}");
        let mut due: Vec<_> = staged.iter().map(|timer| timer.at).collect();
        due.sort();
        let expected: Vec<_> =
            expected.iter().map(|days| after(now, Duration::from_secs(days * 24 * 60 * 60))).collect();
        assert_eq!(due, expected, "since {since}");
    }
}

#[test]
#[should_panic(expected = "so it needs timers")]
fn a_service_that_delays_events_does_not_start_without_timers() {
    World::new().run_without_timers(service().delays::<Shipped>());
}
