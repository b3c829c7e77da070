//! Routes that change something: idempotency keys, and events that stay pending.

use std::time::Duration;

use futures::FutureExt;
use pushbox::{
    Command, Context, Document, Path, Problem, Reply, Service,
    store::{Change, Precondition, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::suite::{
    Answer, Count, Fault, Log, Refusal, Running, SERVICE, Shipped, World, are, at_once, count, service,
};

#[derive(Clone, Deserialize, Serialize)]
struct NewOrder {
    order: String,
}

/// Takes orders. Each gets its number.
fn shop() -> Service {
    async fn place(command: Command<NewOrder>) -> Result<Reply, Problem> {
        let order = command.body.order.clone();
        command
            .run(order, |order, cx: Context| async move {
                if order == "bad" {
                    return Err(Problem::not_found("order"));
                }
                if order == "unique" {
                    if cx.get::<Count>(&order).await?.is_some() {
                        return Err(Problem::not_found("second one"));
                    }
                    cx.put(&count(&order, 1));
                }
                let n = cx.get::<Count>("orders").await?.map_or(0, |count| count.n) + 1;
                cx.put(&count("orders", n));
                if order != "quiet" {
                    cx.publish(&Shipped { order });
                }
                Ok(Reply::created(&json!({ "number": n })).at(format!("/orders/{n}")))
            })
            .await
    }
    service().public().publishes::<Shipped>().post("/orders", place).post("/others", place)
}

fn started() -> (World, Running) {
    let world = World::new();
    let running = world.run(shop());
    (world, running)
}

async fn order(running: &Running, key: Option<&str>, order: &str) -> Answer {
    let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    running.post("/orders", &headers, &json!({ "order": order })).await
}

fn is_number(answer: &Answer, number: u64) {
    let seen = (answer.status, answer.header("location"), &answer.body);
    assert_eq!(seen, (201, Some(&*format!("/orders/{number}")), &json!({ "number": number })));
}

async fn pending(world: &World) -> usize {
    let receipts = world.documents("receipts").await;
    receipts.iter().filter(|receipt| receipt["pending"] == json!(true)).count()
}

#[tokio::test(start_paused = true)]
async fn a_command_is_one_commit_before_its_answer_and_one_after() {
    let (world, running) = started();
    is_number(&order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!(world.store.calls(), (2, 1), "the one read is the handler's own");
    assert_eq!((world.published.len(), pending(&world).await), (1, 0));
    // With no events there is nothing to clear.
    is_number(&order(&running, Some("l"), "quiet").await, 2);
    world.settle().await;
    assert_eq!(world.store.calls(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_first_answer() {
    let (world, running) = started();
    for _ in 0..3 {
        is_number(&order(&running, Some("k"), "a").await, 1);
        is_number(&order(&running, Some("\"k\""), "a").await, 1);
        world.settle().await;
    }
    assert_eq!((world.counts().await, world.published.len()), (are(&[("orders", 1)]), 1));
    // Another key, another route, or none.
    is_number(&order(&running, Some("l"), "a").await, 2);
    let elsewhere = running.post("/others", &[("idempotency-key", "k")], &json!({ "order": "a" })).await;
    is_number(&elsewhere, 3);
    is_number(&order(&running, None, "a").await, 4);
    is_number(&order(&running, None, "a").await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_key_belongs_to_one_body() {
    let (world, running) = started();
    is_number(&order(&running, Some("k"), "a").await, 1);
    order(&running, Some("k"), "b").await.is_problem(422);
    is_number(&order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!((world.counts().await, world.published.len()), (are(&[("orders", 1)]), 1));
}

#[tokio::test(start_paused = true)]
async fn refuses_a_malformed_key() {
    let (world, running) = started();
    let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
    for key in ["k", "\"k\"", r#""a\"b\\""#, &longest, "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"a, b\""] {
        assert_eq!(order(&running, Some(key), "a").await.status, 201, "{key}");
    }
    let placed = world.counts().await;
    let bad = [
        "",
        "\"\"",
        "\"",
        "\"k",
        "k\"",
        "\"a\"b",
        "\"a\", \"b\"",
        "a,b",
        "\"a\\",
        "\"a\\b\"",
        "a\tb",
        "k\u{e9}y",
        &too_long,
    ];
    for key in bad {
        order(&running, Some(key), "a").await.is_problem(400);
    }
    let twice = [("idempotency-key", "k"), ("idempotency-key", "k")];
    running.post("/orders", &twice, &json!({ "order": "a" })).await.is_problem(400);
    assert_eq!(world.counts().await, placed);
}

#[tokio::test(start_paused = true)]
async fn fifty_at_once_with_one_key_are_one() {
    let (world, running) = started();
    let answers = at_once(50, |_| {
        let running = running.clone();
        async move { order(&running, Some("k"), "a").await }.boxed()
    });
    for answer in answers.await {
        is_number(&answer, 1);
    }
    world.settle().await;
    assert_eq!((world.counts().await, world.published.ids().len()), (are(&[("orders", 1)]), 1));
    assert_eq!(pending(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_answer_to_keep() {
    let (world, running) = started();
    order(&running, Some("k"), "bad").await.is_problem(404);
    assert_eq!(world.store.calls(), (0, 1), "one look whether it was answered before");
    is_number(&order(&running, Some("k"), "a").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_that_trips_over_its_own_work_gets_the_first_answer() {
    let (world, running) = started();
    for _ in 0..2 {
        is_number(&order(&running, Some("k"), "unique").await, 1);
    }
    order(&running, Some("k"), "other").await.is_problem(422);
    order(&running, Some("l"), "unique").await.is_problem(404);
    assert_eq!(world.counts().await, are(&[("orders", 1), ("unique", 1)]));
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_races_of_commands() {
    for (faults, first) in [
        (vec![Fault::Lost], 201),
        (vec![Fault::AnswerLost], 201),
        (vec![Fault::Conflict], 201),
        (vec![Fault::Lost, Fault::Lost, Fault::Lost], 503),
        (vec![Fault::AnswerLost, Fault::Lost, Fault::Lost], 503),
        (vec![Fault::Failed], 201),
    ] {
        let (world, running) = started();
        world.store.next(faults.clone());
        let answer = order(&running, Some("k"), "a").await;
        assert_eq!(answer.status, first, "{faults:?}");
        if first == 503 {
            answer.is_problem(503);
        }
        is_number(&order(&running, Some("k"), "a").await, 1);
        world.settle().await;
        assert_eq!(
            (world.counts().await, world.published.ids().len()),
            (are(&[("orders", 1)]), 1),
            "{faults:?}"
        );
        assert_eq!(pending(&world).await, 0, "{faults:?}");
    }
}

async fn relay(running: &Running) -> (u16, Value) {
    let answer = running.post("/relay", &[], &Value::Null).await;
    (answer.status, answer.body)
}

fn relayed(events: usize, failed: usize) -> Value {
    json!({ "events": events, "failed": failed })
}

#[tokio::test(start_paused = true)]
async fn the_caller_gets_the_answer_even_if_nothing_can_be_published() {
    for refusal in [Refusal::Fails, Refusal::Hangs] {
        let (world, running) = started();
        world.published.all(refusal);
        let began = tokio::time::Instant::now();
        is_number(&order(&running, Some("k"), "a").await, 1);
        assert!(began.elapsed() <= Duration::from_millis(1_010), "{refusal:?}: {:?}", began.elapsed());
        world.settle().await;
        assert_eq!((pending(&world).await, world.published.len()), (1, 0), "{refusal:?}");

        // Its own request may still be at it.
        world.published.all(Refusal::None);
        tokio::time::advance(Duration::from_secs(10) - began.elapsed() - Duration::from_millis(1)).await;
        assert_eq!(relay(&running).await, (200, relayed(0, 0)), "{refusal:?}");
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(relay(&running).await, (200, relayed(1, 0)), "{refusal:?}");
        world.settle().await;
        assert_eq!((pending(&world).await, world.published.len()), (0, 1), "{refusal:?}");
        assert_eq!(relay(&running).await, (200, relayed(0, 0)), "{refusal:?}");
        // The answer is still there.
        is_number(&order(&running, Some("k"), "a").await, 1);
        assert_eq!(world.published.len(), 1, "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_publishes_what_is_pending() {
    let (world, running) = started();
    world.published.next(&[Refusal::Fails]);
    is_number(&order(&running, Some("k"), "a").await, 1);
    assert_eq!((pending(&world).await, world.published.len()), (1, 0));
    is_number(&order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn one_event_that_cannot_be_published_does_not_hold_back_the_others() {
    let (world, running) = started();
    world.published.all(Refusal::Fails);
    for key in ["a", "b", "c"] {
        order(&running, Some(key), key).await;
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    world.published.all(Refusal::None);
    world.published.next(&[Refusal::None, Refusal::Fails]);
    assert_eq!(relay(&running).await, (503, relayed(2, 1)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.len()), (1, 2));
    assert_eq!(relay(&running).await, (200, relayed(1, 0)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.ids().len()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_could_not_be_cleared_is_cleared_by_the_next_relay() {
    let (world, running) = started();
    world.store.next([Fault::None, Fault::Lost]);
    is_number(&order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.len()), (1, 1));
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(relay(&running).await, (200, relayed(1, 0)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.ids().len(), world.published.len()), (0, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn more_than_a_page_of_pending_events_is_relayed() {
    let (world, running) = started();
    world.published.all(Refusal::Fails);
    for n in 0..250 {
        order(&running, Some(&n.to_string()), "a").await;
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    world.published.all(Refusal::None);
    assert_eq!(relay(&running).await, (200, relayed(250, 0)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.ids().len()), (0, 250));
}

#[tokio::test(start_paused = true)]
async fn a_relay_without_its_store_fails() {
    let (world, running) = started();
    world.store.reads_fail(true);
    running.post("/relay", &[], &Value::Null).await.is_problem(503);
}

#[tokio::test(start_paused = true)]
async fn ids_do_not_depend_on_the_key_of_the_caller() {
    async fn place(command: Command<NewOrder>) -> Result<Reply, Problem> {
        let order = command.body.order.clone();
        let placed = command.run(order, |order, cx: Context| async move {
            let id = cx.new_id();
            cx.put(&count(&id, 1));
            cx.publish(&Shipped { order });
            Ok(Reply::created(&json!({ "id": id })))
        });
        placed.await
    }
    let world = World::new();
    let running = world.run(service().publishes::<Shipped>().post("/orders", place));
    let mut ids = Vec::new();
    for (days, is_repeat) in [(0, false), (44, true), (2, false), (46, false)] {
        tokio::time::advance(Duration::from_secs(days * 24 * 60 * 60)).await;
        let id = order(&running, Some("k"), "a").await.body["id"].clone();
        assert_eq!(ids.last() == Some(&id), is_repeat, "after {days} days");
        ids.push(id);
        world.settle().await;
    }
    ids.dedup();
    assert_eq!((ids.len(), world.counts().await.len(), world.published.ids().len()), (3, 3, 3));
    // Another deployment, the same key.
    let other = World::new();
    let running = other.run(service().publishes::<Shipped>().post("/orders", place));
    let id = order(&running, Some("k"), "a").await.body["id"].clone();
    assert!(!ids.contains(&id));
    assert!(world.published.ids().is_disjoint(&other.published.ids()));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_never_rests_on_reads_that_were_not_true_together() {
    let world = World::new();
    let set = |id: &str, n| {
        let Ok(Value::Object(fields)) = serde_json::to_value(count(id, n)) else { panic!("an object") };
        let path = Path::new(SERVICE, Count::COLLECTION, id);
        Write { path, change: Change::Set(fields), only_if: Precondition::None }
    };
    world.store.inner.commit(&[set("a", 4), set("b", 6)]).await.expect("a commit");
    let (store, runs) = (world.store.inner.clone(), Log::<()>::default());
    let look = move |command: Command<NewOrder>| {
        let (store, runs) = (store.clone(), runs.clone());
        async move {
            let input = (command.body.order.clone(), store, runs);
            let looked = command.run(input, move |(_, store, runs), cx: Context| async move {
                let a = cx.get::<Count>("a").await?.map_or(0, |count| count.n);
                runs.push(());
                if runs.len() == 1 {
                    store.commit(&[set("a", 1), set("b", 9)]).await.expect("a commit");
                }
                let b = cx.get::<Count>("b").await?.map_or(0, |count| count.n);
                if a + b == 10 { Ok(Reply::ok(&json!({}))) } else { Err(Problem::not_found("sum of 10")) }
            });
            looked.await
        }
    };
    let running = world.run(service().post("/orders", look));
    assert_eq!(order(&running, None, "a").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_five_seconds_at_most_for_the_store() {
    let (world, running) = started();
    world.store.all(Fault::Slow(Duration::from_secs(4)));
    world.store.next([Fault::Lost, Fault::Lost]);
    let began = tokio::time::Instant::now();
    is_number(&order(&running, Some("k"), "a").await, 1);
    world.store.all(Fault::Slow(Duration::from_secs(30)));
    order(&running, Some("l"), "b").await.is_problem(503);
    assert!(began.elapsed() < Duration::from_secs(5 + 1 + 5), "{:?}", began.elapsed());
    world.store.all(Fault::None);
    is_number(&order(&running, Some("l"), "b").await, 2);
}

#[tokio::test(start_paused = true)]
async fn receipts_that_cannot_be_published_do_not_hold_back_the_others() {
    let (world, running) = started();
    world.published.all(Refusal::Fails);
    for n in 0..120 {
        order(&running, Some(&format!("bad {n}")), "bad one").await;
        order(&running, Some(&format!("good {n}")), "good one").await;
    }
    world.settle().await;
    tokio::time::advance(Duration::from_secs(11)).await;
    world.published.all(Refusal::None);
    world.published.hang_on("bad one");
    for _ in 0..2 {
        let began = tokio::time::Instant::now();
        let (status, _) = relay(&running).await;
        assert!(began.elapsed() <= Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(status, 503);
    }
    // Nothing goes on in the background: Cloud Run may give no CPU after the answer.
    assert_eq!((pending(&world).await, world.published.ids().len()), (120, 120));
}
