//! Commands: idempotency keys and pending events.

use std::{collections::BTreeMap, time::Duration};

use futures::FutureExt;
use pushbox::{Command, Context, Problem, Reply, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::set_count;
use crate::suite::{
    Answer, Count, Fault, Log, Refusal, Running, Shipped, World, concurrently, count, counts, logs::Logs,
    service,
};

#[derive(Clone, Deserialize, Serialize)]
struct NewOrder {
    order: String,
}

/// Places orders and numbers them.
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

fn start() -> (World, Running) {
    let world = World::new();
    let running = world.run(shop());
    (world, running)
}

async fn place_order(running: &Running, key: Option<&str>, order: &str) -> Answer {
    let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    running.post("/orders", &headers, &json!({ "order": order })).await
}

fn assert_order_number(answer: &Answer, number: u64) {
    let seen = (answer.status, answer.header("location"), &answer.body);
    assert_eq!(seen, (201, Some(&*format!("/orders/{number}")), &json!({ "number": number })));
}

async fn pending(world: &World) -> usize {
    let receipts = world.documents("receipts").await;
    receipts.iter().filter(|receipt| receipt["pending"] == json!(true)).count()
}

#[tokio::test(start_paused = true)]
async fn a_command_makes_one_commit_before_its_answer_and_one_after() {
    let (world, running) = start();
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!(world.store.take_calls(), (2, 1), "the handler itself makes the one read");
    assert_eq!((world.published.len(), pending(&world).await), (1, 0));
    // Without events there is no mark to clear.
    assert_order_number(&place_order(&running, Some("l"), "quiet").await, 2);
    world.settle().await;
    assert_eq!(world.store.take_calls(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_the_first_answer() {
    let (world, running) = start();
    for _ in 0..3 {
        assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
        assert_order_number(&place_order(&running, Some("\"k\""), "a").await, 1);
        world.settle().await;
    }
    assert_eq!((world.counts().await, world.published.len()), (counts(&[("orders", 1)]), 1));
    // Requests with another key, on another route, or without a key are new.
    assert_order_number(&place_order(&running, Some("l"), "a").await, 2);
    let elsewhere = running.post("/others", &[("idempotency-key", "k")], &json!({ "order": "a" })).await;
    assert_order_number(&elsewhere, 3);
    assert_order_number(&place_order(&running, None, "a").await, 4);
    assert_order_number(&place_order(&running, None, "a").await, 5);
}

#[tokio::test(start_paused = true)]
async fn refuses_an_idempotency_key_with_another_body() {
    let (world, running) = start();
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
    place_order(&running, Some("k"), "b").await.assert_problem(422);
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!((world.counts().await, world.published.len()), (counts(&[("orders", 1)]), 1));
}

#[tokio::test(start_paused = true)]
async fn refuses_a_malformed_idempotency_key() {
    let (world, running) = start();
    let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
    for key in ["k", "\"k\"", r#""a\"b\\""#, &longest, "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"a, b\""] {
        assert_eq!(place_order(&running, Some(key), "a").await.status, 201, "{key}");
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
        place_order(&running, Some(key), "a").await.assert_problem(400);
    }
    let twice = [("idempotency-key", "k"), ("idempotency-key", "k")];
    running.post("/orders", &twice, &json!({ "order": "a" })).await.assert_problem(400);
    assert_eq!(world.counts().await, placed);
}

/// JSON has no such keys.
#[tokio::test(start_paused = true)]
async fn a_reply_that_is_not_json_commits_nothing() {
    fn body() -> BTreeMap<(u8, u8), u8> {
        BTreeMap::from([((1, 2), 3)])
    }
    async fn place(command: Command<NewOrder>) -> Result<Reply, Problem> {
        let order = command.body.order.clone();
        let placed = command.run(order, |order, cx: Context| async move {
            cx.put(&count(&order, 1));
            cx.publish(&Shipped { order });
            Ok(Reply::created(&body()))
        });
        placed.await
    }
    async fn uncommitted(_: Command<NewOrder>) -> Reply {
        Reply::ok(&body())
    }
    let (world, logs) = (World::new(), Logs::collect());
    let service = service().publishes::<Shipped>().post("/orders", place).post("/others", uncommitted);
    let running = world.run(service);
    for path in ["/orders", "/orders", "/others"] {
        let answer = running.post(path, &[("idempotency-key", "k")], &json!({ "order": "a" })).await;
        answer.assert_problem(500);
    }
    world.settle().await;
    assert_eq!((world.documents("receipts").await.len(), world.counts().await.len()), (0, 0));
    assert_eq!(world.published.len(), 0);
    let causes = logs.of("ERROR").iter().filter(|line| line.contains("the reply is not JSON")).count();
    assert_eq!(causes, 3, "{:?}", logs.of("ERROR"));
}

#[tokio::test(start_paused = true)]
async fn fifty_concurrent_requests_with_one_key_place_one_order() {
    let (world, running) = start();
    let answers = concurrently(50, |_| {
        let running = running.clone();
        async move { place_order(&running, Some("k"), "a").await }.boxed()
    });
    for answer in answers.await {
        assert_order_number(&answer, 1);
    }
    world.settle().await;
    assert_eq!((world.counts().await, world.published.ids().len()), (counts(&[("orders", 1)]), 1));
    assert_eq!(pending(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_answer_is_not_stored() {
    let (world, running) = start();
    place_order(&running, Some("k"), "bad").await.assert_problem(404);
    assert_eq!(world.store.take_calls(), (0, 1), "one read of the receipt");
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_that_conflicts_with_its_own_writes_gets_the_first_answer() {
    let (world, running) = start();
    for _ in 0..2 {
        assert_order_number(&place_order(&running, Some("k"), "unique").await, 1);
    }
    place_order(&running, Some("k"), "other").await.assert_problem(422);
    place_order(&running, Some("l"), "unique").await.assert_problem(404);
    assert_eq!(world.counts().await, counts(&[("orders", 1), ("unique", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_command_takes_effect_once_despite_store_faults() {
    for (faults, first) in [
        (vec![Fault::Lost], 201),
        (vec![Fault::AnswerLost], 201),
        (vec![Fault::Conflict], 201),
        (vec![Fault::Lost, Fault::Lost, Fault::Lost], 503),
        (vec![Fault::AnswerLost, Fault::Lost, Fault::Lost], 503),
        (vec![Fault::Failed], 201),
    ] {
        let (world, running) = start();
        world.store.next(faults.clone());
        let answer = place_order(&running, Some("k"), "a").await;
        assert_eq!(answer.status, first, "{faults:?}");
        if first == 503 {
            answer.assert_problem(503);
        }
        assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
        world.settle().await;
        assert_eq!(
            (world.counts().await, world.published.ids().len()),
            (counts(&[("orders", 1)]), 1),
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
async fn the_caller_gets_an_answer_even_if_publishing_fails() {
    for refusal in [Refusal::Fails, Refusal::Hangs] {
        let (world, running) = start();
        world.published.always(refusal);
        let began = tokio::time::Instant::now();
        assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
        assert!(began.elapsed() <= Duration::from_millis(1_010), "{refusal:?}: {:?}", began.elapsed());
        world.settle().await;
        assert_eq!((pending(&world).await, world.published.len()), (1, 0), "{refusal:?}");

        // The relay skips young events, because their own request may still publish them.
        world.published.always(Refusal::None);
        tokio::time::advance(Duration::from_secs(10) - began.elapsed() - Duration::from_millis(1)).await;
        assert_eq!(relay(&running).await, (200, relayed(0, 0)), "{refusal:?}");
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(relay(&running).await, (200, relayed(1, 0)), "{refusal:?}");
        world.settle().await;
        assert_eq!((pending(&world).await, world.published.len()), (0, 1), "{refusal:?}");
        assert_eq!(relay(&running).await, (200, relayed(0, 0)), "{refusal:?}");
        // The answer is still stored.
        assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
        assert_eq!(world.published.len(), 1, "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_publishes_the_pending_events() {
    let (world, running) = start();
    world.published.next(&[Refusal::Fails]);
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
    assert_eq!((pending(&world).await, world.published.len()), (1, 0));
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_publication_does_not_block_the_other_events() {
    let (world, running) = start();
    world.published.always(Refusal::Fails);
    for key in ["a", "b", "c"] {
        place_order(&running, Some(key), key).await;
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    world.published.always(Refusal::None);
    world.published.next(&[Refusal::None, Refusal::Fails]);
    assert_eq!(relay(&running).await, (503, relayed(2, 1)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.len()), (1, 2));
    assert_eq!(relay(&running).await, (200, relayed(1, 0)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.ids().len()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn the_next_relay_clears_a_pending_mark_that_was_not_cleared() {
    let ((world, running), logs) = (start(), Logs::collect());
    world.store.next([Fault::None, Fault::Lost]);
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.len()), (1, 1));
    assert!(logs.of("WARN")[0].contains("published again"), "{:?}", logs.of("WARN"));
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(relay(&running).await, (200, relayed(1, 0)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.ids().len(), world.published.len()), (0, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_relay_publishes_more_than_one_page_of_pending_events() {
    let (world, running) = start();
    world.published.always(Refusal::Fails);
    for n in 0..250 {
        place_order(&running, Some(&n.to_string()), "a").await;
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    world.published.always(Refusal::None);
    assert_eq!(relay(&running).await, (200, relayed(250, 0)));
    world.settle().await;
    assert_eq!((pending(&world).await, world.published.ids().len()), (0, 250));
}

#[tokio::test(start_paused = true)]
async fn the_relay_answers_503_if_the_store_fails() {
    let (world, running) = start();
    world.store.fail_reads(true);
    running.post("/relay", &[], &Value::Null).await.assert_problem(503);
}

#[tokio::test(start_paused = true)]
async fn new_ids_do_not_derive_from_the_idempotency_key() {
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
        let id = place_order(&running, Some("k"), "a").await.body["id"].clone();
        assert_eq!(ids.last() == Some(&id), is_repeat, "after {days} days");
        ids.push(id);
        world.settle().await;
    }
    ids.dedup();
    assert_eq!((ids.len(), world.counts().await.len(), world.published.ids().len()), (3, 3, 3));
    // Another deployment with the same key.
    let other = World::new();
    let running = other.run(service().publishes::<Shipped>().post("/orders", place));
    let id = place_order(&running, Some("k"), "a").await.body["id"].clone();
    assert!(!ids.contains(&id));
    assert!(world.published.ids().is_disjoint(&other.published.ids()));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_not_refused_because_of_inconsistent_reads() {
    let world = World::new();
    world.store.inner.commit(&[set_count("a", 4), set_count("b", 6)]).await.expect("a commit");
    let (store, runs) = (world.store.inner.clone(), Log::<()>::default());
    let check_sum = move |command: Command<NewOrder>| {
        let (store, runs) = (store.clone(), runs.clone());
        async move {
            let input = (command.body.order.clone(), store, runs);
            let checked = command.run(input, move |(_, store, runs), cx: Context| async move {
                let a = cx.get::<Count>("a").await?.map_or(0, |count| count.n);
                runs.push(());
                if runs.len() == 1 {
                    store.commit(&[set_count("a", 1), set_count("b", 9)]).await.expect("a commit");
                }
                let b = cx.get::<Count>("b").await?.map_or(0, |count| count.n);
                if a + b == 10 { Ok(Reply::ok(&json!({}))) } else { Err(Problem::not_found("sum of 10")) }
            });
            checked.await
        }
    };
    let running = world.run(service().post("/orders", check_sum));
    assert_eq!(place_order(&running, None, "a").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_at_most_five_seconds_for_the_store() {
    let (world, running) = start();
    world.store.always(Fault::Slow(Duration::from_secs(4)));
    world.store.next([Fault::Lost, Fault::Lost]);
    let began = tokio::time::Instant::now();
    assert_order_number(&place_order(&running, Some("k"), "a").await, 1);
    world.store.always(Fault::Slow(Duration::from_secs(30)));
    place_order(&running, Some("l"), "b").await.assert_problem(503);
    assert!(began.elapsed() < Duration::from_secs(5 + 1 + 5), "{:?}", began.elapsed());
    world.store.always(Fault::None);
    assert_order_number(&place_order(&running, Some("l"), "b").await, 2);
}

#[tokio::test(start_paused = true)]
async fn publications_that_hang_do_not_block_the_other_receipts() {
    let (world, running) = start();
    world.published.always(Refusal::Fails);
    for n in 0..120 {
        place_order(&running, Some(&format!("bad {n}")), "bad one").await;
        place_order(&running, Some(&format!("good {n}")), "good one").await;
    }
    world.settle().await;
    tokio::time::advance(Duration::from_secs(11)).await;
    world.published.always(Refusal::None);
    world.published.hang_on("bad one");
    for _ in 0..2 {
        let began = tokio::time::Instant::now();
        let (status, _) = relay(&running).await;
        assert!(began.elapsed() <= Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(status, 503);
    }
    assert_eq!((pending(&world).await, world.published.ids().len()), (120, 120));
}

/// Cloud Run may give no CPU after the answer, so the test does not wait for background work.
#[tokio::test(start_paused = true)]
async fn the_relay_clears_the_marks_before_it_answers() {
    let (world, running) = start();
    world.published.next(&[Refusal::Fails]);
    place_order(&running, Some("k"), "a").await;
    tokio::time::advance(Duration::from_secs(11)).await;
    world.store.next([Fault::Slow(Duration::from_secs(1))]);
    assert_eq!(relay(&running).await, (200, relayed(1, 0)));
    assert_eq!(pending(&world).await, 0);
}
