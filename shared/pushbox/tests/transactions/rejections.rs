//! The conditions for the rejection of a message.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use pushbox::{
    Path, reject,
    store::{CommitError, Memory, Query, Store, StoreError, Stored, Version, Write},
};

use super::set_count;
use crate::suite::{Count, Fault, Placed, Pushed, Refusal, Running, Shipped, World, count, service};

/// A store whose receipts cannot be read while `blind` is set.
struct Blind {
    inner: Memory,
    blind: AtomicBool,
}

#[async_trait]
impl Store for Blind {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        if path.collection().ends_with("receipts") && self.blind.load(Ordering::SeqCst) {
            return Err(StoreError("no answer in time".to_owned()));
        }
        self.inner.get(path).await
    }
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        self.inner.commit(writes).await
    }
    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.inner.list(query).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_rejected_while_its_receipt_cannot_be_read() {
    let store = Arc::new(Blind { inner: Memory::default(), blind: false.into() });
    let world = World::on(store.clone());
    let running =
        world.run(service().publishes::<Shipped>().on(|placed: Placed, cx: pushbox::Context| async move {
            if cx.get::<Count>(&placed.order).await?.is_some() {
                return Err(reject("shipped already"));
            }
            cx.put(&count(&placed.order, 1));
            cx.publish(&Shipped { order: placed.order });
            Ok(())
        }));
    world.published.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    store.blind.store(true, Ordering::SeqCst);
    let status = running.push(&Pushed::order("a")).await;
    assert_eq!(status, 503, "acknowledged although its event is not published");
}

/// A document may grow with each run, or a new release may write a larger one.
#[tokio::test(start_paused = true)]
async fn a_duplicate_is_not_rejected_because_the_store_refuses_its_writes() {
    let world = World::new();
    let running =
        world.run(service().publishes::<Shipped>().on(|placed: Placed, cx: pushbox::Context| async move {
            cx.put(&count(&placed.order, 1));
            cx.publish(&Shipped { order: placed.order });
            Ok(())
        }));
    world.published.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    world.store.next([Fault::Refused]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let topics: Vec<String> = world.published.messages().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["order-events"], "its event is published, and it is no dead letter");
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_rejected_on_a_wrong_assumption_of_create() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        if cx.create(&count(&placed.order, 1)).exists() {
            return Ok(());
        }
        match cx.get::<Count>("open").await? {
            Some(_) => Ok(()),
            None => Err(reject("the shop is closed")),
        }
    }));
    world.store.inner.commit(&[set_count("a", 1)]).await.expect("a commit");
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.published.len(), 0, "rejected although the order exists");
}

/// A store in which another instance handles the event while this instance reads the receipt.
struct Meanwhile {
    inner: Memory,
    running: OnceLock<Running>,
    reads: AtomicUsize,
}

#[async_trait]
impl Store for Meanwhile {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        let found = self.inner.get(path).await;
        if path.collection().ends_with("receipts") && self.reads.fetch_add(1, Ordering::SeqCst) == 0 {
            let open = set_count("open", 1);
            self.inner.commit(&[open]).await.expect("a commit");
            let running = self.running.get().expect("running").clone();
            assert_eq!(Box::pin(running.push(&Pushed::order("a"))).await, 204);
        }
        found
    }
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        self.inner.commit(writes).await
    }
    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.inner.list(query).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_not_both_handled_and_rejected() {
    let store =
        Arc::new(Meanwhile { inner: Memory::default(), running: Default::default(), reads: 0.into() });
    let world = World::on(store.clone());
    let running =
        world.run(service().publishes::<Shipped>().on(|placed: Placed, cx: pushbox::Context| async move {
            match cx.get::<Count>("open").await? {
                Some(_) => {
                    cx.publish(&Shipped { order: placed.order });
                    Ok(())
                }
                None => Err(reject("the shop is closed")),
            }
        }));
    store.running.set(running.clone()).ok().expect("once");
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let messages = world.published.messages();
    assert!(messages.iter().all(|message| message.topic == "order-events"), "{messages:?}");
}
