//! The number of calls to Firestore.

use std::sync::Arc;

use pushbox::{Command, Context, Effect, Failure, Problem, Reply, Service};
use serde_json::{Value, json};

use crate::{
    emulator, firestore,
    proxy::Proxy,
    suite::{Placed, Pushed, Shipped, World, count, counts, service},
};

async fn world() -> (World, Proxy) {
    let proxy = Proxy::to(&emulator("FIRESTORE_EMULATOR_HOST")).await;
    let store = firestore::fresh().through(&proxy.url);
    (World::on(Arc::new(store)), proxy)
}

/// Counts each order, records it and ships it.
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
async fn an_event_takes_one_commit_and_no_other_call() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(proxy.take_calls(), ["Commit"]);
    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    assert_eq!(proxy.take_calls(), ["Commit"]);
    assert_eq!(
        (world.counts().await, world.published.len()),
        (counts(&[("a", 1), ("b", 1), ("orders", 2)]), 2)
    );
}

#[tokio::test]
async fn a_duplicate_takes_one_refused_commit_and_one_read() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    proxy.take_calls();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(proxy.take_calls(), ["Commit", "BatchGetDocuments"]);
    assert_eq!(world.counts().await, counts(&[("a", 1), ("orders", 1)]));
}

#[tokio::test]
async fn an_existing_document_costs_create_one_more_commit_and_two_reads() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    assert_eq!(running.push(&Pushed::event("1", &Placed { order: "a".to_owned(), quantity: 1 })).await, 204);
    proxy.take_calls();
    assert_eq!(running.push(&Pushed::event("2", &Placed { order: "a".to_owned(), quantity: 1 })).await, 204);
    assert_eq!(proxy.take_calls(), ["Commit", "BatchGetDocuments", "BatchGetDocuments", "Commit"]);
    assert_eq!(world.counts().await, counts(&[("a", 1), ("orders", 2), ("taken", 1)]));
}

#[tokio::test]
async fn a_lost_answer_costs_one_more_commit_and_one_read() {
    let (world, proxy) = world().await;
    let running = world.run(counting());
    proxy.lose_next_answer();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(proxy.take_calls(), ["Commit", "Commit", "BatchGetDocuments"]);
    assert_eq!((world.counts().await, world.published.len()), (counts(&[("a", 1), ("orders", 1)]), 1));
}

struct Charging;

impl Effect for Charging {
    type Event = Placed;
    type Call = String;
    type Outcome = i64;

    const SECRETS: &[&str] = &[];

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
async fn an_effect_takes_two_commits() {
    let (world, proxy) = world().await;
    let running = world.run(service().publishes::<Shipped>().effect(Charging));
    assert_eq!(running.push(&Pushed::order("abc")).await, 204);
    assert_eq!(proxy.take_calls(), ["Commit", "Commit"]);
    assert_eq!(running.push(&Pushed::order("abc")).await, 204);
    assert_eq!(proxy.take_calls(), ["Commit", "BatchGetDocuments"]);
    assert_eq!((world.counts().await, world.published.ids().len()), (counts(&[("charged", 3)]), 1));
}

#[tokio::test]
async fn a_command_takes_one_commit_before_its_answer_and_one_after() {
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
    // The background work has not begun: the test runs on one thread and has not yielded.
    assert_eq!(proxy.take_calls(), ["Commit"]);
    world.settle().await;
    assert_eq!(proxy.take_calls(), ["Commit"]);
    assert_eq!(running.post("/orders", &headers, &json!({})).await.status, 201);
    world.settle().await;
    assert_eq!(proxy.take_calls(), ["Commit", "BatchGetDocuments"]);
    assert_eq!(running.post("/relay", &[], &Value::Null).await.body, json!({ "events": 0, "failed": 0 }));
    // All pending receipts fit into one page, so one query is enough.
    assert_eq!(proxy.take_calls(), ["RunQuery"]);
    assert_eq!(world.published.len(), 1);
    assert_eq!(world.documents("counts").await, [serde_json::to_value(count("a", 1)).expect("JSON")]);
}
