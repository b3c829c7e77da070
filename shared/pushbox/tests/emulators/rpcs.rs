//! How many calls to Firestore it takes.

use std::sync::Arc;

use pushbox::{Command, Context, Effect, Failure, Problem, Reply, Service};
use serde_json::{Value, json};

use crate::{
    emulator, firestore,
    proxy::Proxy,
    suite::{Count, Placed, Pushed, Shipped, World, are, count, service},
};

async fn world() -> (World, Proxy) {
    let proxy = Proxy::to(&emulator("FIRESTORE_EMULATOR_HOST")).await;
    let store = firestore::fresh().through(&proxy.url);
    (World::on(Arc::new(store)), proxy)
}

/// Counts an order, notes it, and ships it.
fn counting() -> Service {
    service().publishes::<Shipped>().on(|placed: Placed, cx: Context| async move {
        cx.add(&count("orders", 1), &["n"]);
        if cx.create(&count(&placed.order, 1)).exists() {
            cx.put(&count("taken", 1));
        }
        cx.publish(&Shipped { order: placed.order });
        Ok(())
    })
}

#[tokio::test]
async fn an_event_is_one_commit_and_nothing_else() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(proxy.calls(), ["Commit"]);
    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    assert_eq!(proxy.calls(), ["Commit"]);
    assert_eq!((world.counts().await, world.published.len()), (are(&[("a", 1), ("b", 1), ("orders", 2)]), 2));
}

#[tokio::test]
async fn a_duplicate_is_a_commit_that_fails_and_one_read() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    proxy.calls();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(proxy.calls(), ["Commit", "BatchGetDocuments"]);
    assert_eq!(world.counts().await, are(&[("a", 1), ("orders", 1)]));
}

#[tokio::test]
async fn a_wrong_guess_of_create_is_one_commit_and_two_reads_more() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    assert_eq!(running.push(&Pushed::event("1", &Placed { order: "a".to_owned(), quantity: 1 })).await, 204);
    proxy.calls();
    assert_eq!(running.push(&Pushed::event("2", &Placed { order: "a".to_owned(), quantity: 1 })).await, 204);
    assert_eq!(proxy.calls(), ["Commit", "BatchGetDocuments", "BatchGetDocuments", "Commit"]);
    assert_eq!(world.counts().await, are(&[("a", 1), ("orders", 2), ("taken", 1)]));
}

#[tokio::test]
async fn a_lost_answer_is_the_same_commit_again_and_one_read() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    proxy.lose_next_answer();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(proxy.calls(), ["Commit", "Commit", "BatchGetDocuments"]);
    assert_eq!((world.counts().await, world.published.len()), (are(&[("a", 1), ("orders", 1)]), 1));
}

struct Charging;

impl Effect for Charging {
    type Event = Placed;
    type Call = String;
    type Outcome = i64;

    async fn claim(&self, placed: Placed, _: Context) -> Result<Option<String>, Failure> {
        Ok(Some(placed.order))
    }

    async fn perform(&self, order: String, _: String) -> Result<i64, Failure> {
        Ok(order.len() as i64)
    }

    async fn complete(&self, order: String, charged: i64, cx: Context) -> Result<(), Failure> {
        cx.add(&count("charged", charged), &["n"]);
        cx.publish(&Shipped { order });
        Ok(())
    }

    async fn abandon(&self, _: String, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn an_effect_is_two_commits() {
    let (world, proxy) = world().await;
    let running = world.run(service().publishes::<Shipped>().effect(Charging));
    assert_eq!(running.push(&Pushed::order("abc")).await, 204);
    assert_eq!(proxy.calls(), ["Commit", "Commit"]);
    assert_eq!(running.push(&Pushed::order("abc")).await, 204);
    assert_eq!(proxy.calls(), ["Commit", "BatchGetDocuments"]);
    assert_eq!((world.counts().await, world.published.ids().len()), (are(&[("charged", 3)]), 1));
}

#[tokio::test]
async fn a_command_is_one_commit_before_its_answer_and_one_after() {
    async fn place(command: Command<Value>) -> Result<Reply, Problem> {
        let reply = command.run((), |(), cx: Context| async move {
            if cx.create(&count("a", 1)).exists() {
                return Err(Problem::not_found("second one"));
            }
            cx.publish(&Shipped { order: "a".to_owned() });
            Ok(Reply::created(&json!({ "order": "a" })))
        });
        reply.await
    }
    let (world, proxy) = world().await;
    let running = world.run(service().publishes::<Shipped>().post("/orders", place));
    let headers = [("idempotency-key", "k")];
    assert_eq!(running.post("/orders", &headers, &json!({})).await.status, 201);
    // Nothing has let the background work begin: this test has one thread.
    assert_eq!(proxy.calls(), ["Commit"]);
    world.settle().await;
    assert_eq!(proxy.calls(), ["Commit"]);
    assert_eq!(running.post("/orders", &headers, &json!({})).await.status, 201);
    world.settle().await;
    assert_eq!(proxy.calls(), ["Commit", "BatchGetDocuments"]);
    assert_eq!(running.post("/relay", &[], &Value::Null).await.body, json!({ "events": 0, "failed": 0 }));
    // From a random place to the end, and from the beginning to there.
    assert_eq!(proxy.calls(), ["RunQuery"]);
    assert_eq!(world.published.len(), 1);
    let counts: Vec<Count> = vec![count("a", 1)];
    assert_eq!(world.documents("counts").await, [serde_json::to_value(&counts[0]).expect("JSON")]);
}
