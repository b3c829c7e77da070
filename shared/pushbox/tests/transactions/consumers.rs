//! Consumers that run in a transaction.

use std::{collections::BTreeSet, time::Duration};

use axum::Json;
use futures::FutureExt;
use pushbox::wire::attribute;
use pushbox::{
    Created, Document, Documents, Failure, Problem, Service, reject,
    store::{Change, Fields, Store},
};
use serde_json::{Value, json};

use super::{change_count, set_count};
use crate::suite::{
    Count, Fault, Log, Placed, Pushed, Recorder, Refusal, Shipped, World, concurrently, count, counts,
    logs::Logs, service,
};

/// Counts and ships each order. `runs` has one entry for each run of the handler.
fn counting(runs: &Log<String>) -> Service {
    let runs = runs.clone();
    service().publishes::<Shipped>().on(move |placed: Placed, cx: pushbox::Context| {
        runs.push(placed.order.clone());
        async move {
            cx.add(&count("orders", 1), &["n"]);
            cx.publish(&Shipped { order: placed.order });
            Ok(())
        }
    })
}

/// The number of publications, and the number of distinct events.
fn published(recorder: &Recorder) -> (usize, usize) {
    (recorder.len(), recorder.ids().len())
}

#[tokio::test(start_paused = true)]
async fn a_delivery_makes_one_commit_and_no_read() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.store.take_calls(), (1, 0));
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
    assert_eq!(published(&world.published), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_event_is_a_duplicate_whatever_its_message_id() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let first = Pushed::order("a");
    for repeat in [first.clone(), first.clone(), first.republished("another"), first.clone().with("x", "y")] {
        assert_eq!(running.push(&repeat).await, 204);
    }
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
    // Each duplicate relays, because the delivery before may have died before its relay.
    assert_eq!(published(&world.published), (4, 1));

    let from_another_source = first.with("ce-source", "//pushbox/third-service");
    assert_eq!(running.push(&from_another_source).await, 204);
    assert_eq!(world.counts().await, counts(&[("orders", 2)]));
    assert_eq!(published(&world.published), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn the_message_id_identifies_an_event_without_an_id() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let mut by_hand = Pushed::order("a");
    by_hand.attributes.clear();
    by_hand.data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    for (message_id, orders) in [("1", 1), ("1", 1), ("2", 2)] {
        assert_eq!(running.push(&by_hand.republished(message_id)).await, 204);
        assert_eq!(world.counts().await, counts(&[("orders", orders)]));
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_concurrent_deliveries_are_handled_once() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let pushes = concurrently(50, |n| {
        let (running, message) = (running.clone(), Pushed::order("a").republished(&n.to_string()));
        async move { running.push(&message).await }.boxed()
    });
    assert_eq!(pushes.await, [204; 50]);
    assert!(runs.len() > 1, "the deliveries did not overlap");
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
    assert_eq!(world.published.ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_is_sent_again() {
    for (faults, expected, commits, runs_expected) in [
        (vec![Fault::Lost], 204, 2, 1),
        (vec![Fault::Lost, Fault::Lost], 204, 3, 1),
        // The first commit was applied, so the second finds the receipt.
        (vec![Fault::AnswerLost], 204, 2, 1),
        (vec![Fault::AnswerLost, Fault::Lost], 204, 3, 1),
        (vec![Fault::Lost, Fault::AnswerLost], 204, 3, 1),
        // After three commits the delivery fails.
        (vec![Fault::Lost, Fault::Lost, Fault::Lost], 503, 3, 1),
        (vec![Fault::AnswerLost, Fault::Lost, Fault::Lost], 503, 3, 1),
        (vec![Fault::Failed], 204, 2, 1),
        (vec![Fault::Conflict], 204, 2, 2),
    ] {
        let (world, runs) = (World::new(), Log::default());
        let running = world.run(counting(&runs));
        world.store.next(faults.clone());
        assert_eq!(running.push(&Pushed::order("a")).await, expected, "{faults:?}");
        assert_eq!((world.store.take_calls().0, runs.len()), (commits, runs_expected), "{faults:?}");
        if expected == 204 {
            assert_eq!(published(&world.published), (1, 1), "{faults:?}");
        }
        assert_eq!(running.push(&Pushed::order("a")).await, 204, "{faults:?}");
        assert_eq!(world.counts().await, counts(&[("orders", 1)]), "{faults:?}");
        assert_eq!(world.published.ids().len(), 1, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn create_reports_an_existing_document_when_the_handler_runs_again() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        if cx.create(&count(&placed.order, 1)).exists() {
            cx.put(&count("taken", 1));
        }
        Ok(())
    }));
    assert_eq!(running.push(&Pushed::event("1", &order("a"))).await, 204);
    assert_eq!(world.store.take_calls(), (1, 0), "create must not read first");
    assert_eq!(running.push(&Pushed::event("2", &order("a"))).await, 204);
    assert_eq!(world.store.take_calls(), (2, 2), "one read of the receipt, one of the document");
    assert_eq!(world.counts().await, counts(&[("a", 1), ("taken", 1)]));

    // Another process deletes the document during the second run, or creates it during the first.
    world.store.next([Fault::None, Fault::Overtaken(vec![change_count("a", Change::Delete)])]);
    assert_eq!(running.push(&Pushed::event("3", &order("a"))).await, 204);
    world.store.next([Fault::Overtaken(vec![set_count("b", 7)])]);
    assert_eq!(running.push(&Pushed::event("4", &order("b"))).await, 204);
    assert_eq!(world.counts().await, counts(&[("a", 1), ("b", 7), ("taken", 1)]));
}

/// The compiler warns if a handler asks whether a document exists, and ignores the answer.
#[test]
fn the_answer_of_create_must_be_used() {
    #[expect(unused_must_use, reason = "it warns")]
    Created::New.is_new();
    #[expect(unused_must_use, reason = "it warns")]
    Created::New.exists();
}

#[tokio::test(start_paused = true)]
async fn twenty_concurrent_creators_create_a_document_once() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        match cx.create(&count("the one", i64::from(placed.quantity))) {
            Created::New => cx.add(&count("created", 1), &["n"]),
            Created::Exists => cx.add(&count("refused", 1), &["n"]),
        }
        Ok(())
    }));
    let pushes = concurrently(20, |n| {
        let (running, message) = (running.clone(), Pushed::order(&n.to_string()));
        async move { running.push(&message).await }.boxed()
    });
    assert_eq!(pushes.await, [204; 20]);
    assert_eq!(world.counts().await, counts(&[("the one", 1), ("created", 1), ("refused", 19)]));
}

fn order(id: &str) -> Placed {
    Placed { order: id.to_owned(), quantity: 1 }
}

/// Reads a count, adds one and writes it.
fn read_modify_write(runs: &Log<String>) -> Service {
    let runs = runs.clone();
    service().on(move |placed: Placed, cx: pushbox::Context| {
        let runs = runs.clone();
        async move {
            runs.push(placed.order);
            let n = cx.get::<Count>("orders").await?.map_or(0, |count| count.n);
            cx.put(&count("orders", n + 1));
            // A second read sees the staged write.
            assert_eq!(cx.get::<Count>("orders").await?, Some(count("orders", n + 1)));
            Ok(())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_conflict_runs_the_handler_again() {
    for (outrun, expected) in [
        (vec![set_count("orders", 10)], 11),
        (vec![change_count("orders", Change::Delete)], 1),
        (
            vec![change_count(
                "orders",
                Change::Add { fields: Fields::new(), amounts: [("n".to_owned(), 5)].into() },
            )],
            7,
        ),
    ] {
        let (world, runs) = (World::new(), Log::default());
        let running = world.run(read_modify_write(&runs));
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        world.store.next([Fault::Overtaken(outrun.clone())]);
        assert_eq!(running.push(&Pushed::order("b")).await, 204);
        assert_eq!(runs.all(), ["a", "b", "b"], "{outrun:?}");
        assert_eq!(world.counts().await, counts(&[("orders", expected)]), "{outrun:?}");
    }
    // The document was absent at the read.
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(read_modify_write(&runs));
    world.store.next([Fault::Overtaken(vec![set_count("orders", 10)])]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, counts(&[("orders", 11)]));
}

#[tokio::test(start_paused = true)]
async fn overlapping_reads_of_one_handler_lose_no_update() {
    // The pauses of the store decide which read ends first.
    for pauses in 0..3 {
        let (world, runs) = (World::new(), Log::default());
        let (store, log) = (world.store.clone(), runs.clone());
        let running = world.run(service().on(move |placed: Placed, cx: pushbox::Context| {
            let (store, log) = (store.clone(), log.clone());
            async move {
                log.push(placed.order);
                let change = async {
                    let n = cx.get::<Count>("orders").await?.map_or(0, |orders| orders.n);
                    cx.put(&count("orders", n + 1));
                    if log.len() == 1 {
                        store.commit(&[set_count("orders", 10)]).await.expect("a commit");
                    }
                    Ok::<_, pushbox::Failure>(())
                };
                futures::try_join!(change, cx.get::<Count>("orders"))?;
                Ok(())
            }
        }));
        for _ in 0..pauses {
            world.counts().await;
        }
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        assert_eq!(world.counts().await, counts(&[("orders", 11)]), "after {pauses} pauses");
        assert_eq!(runs.all(), ["a", "a"], "after {pauses} pauses");
    }
}

#[tokio::test(start_paused = true)]
async fn no_concurrent_update_is_lost() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(read_modify_write(&runs));
    let mut expected = 0;
    for round in 0..5 {
        let pushes = concurrently(8, |n| {
            let (running, message) = (running.clone(), Pushed::order(&format!("{round}-{n}")));
            async move { running.push(&message).await }.boxed()
        });
        // A delivery that had too many conflicts comes again.
        for (n, status) in pushes.await.into_iter().enumerate() {
            if status == 503 {
                assert_eq!(running.push(&Pushed::order(&format!("{round}-{n}"))).await, 204);
            }
        }
        expected += 8;
        assert_eq!(world.counts().await, counts(&[("orders", expected)]));
    }
    assert!(runs.len() > 40, "the deliveries did not overlap");
}

#[tokio::test(start_paused = true)]
async fn a_handler_never_commits_after_a_stale_read() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        let price = cx.get::<Count>("price").await?.map_or(0, |price| price.n);
        cx.put(&count(&placed.order, price));
        Ok(())
    }));
    // The price was absent at the read, and exists at the commit.
    world.store.next([Fault::Overtaken(vec![set_count("price", 5)])]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    world.store.next([Fault::Overtaken(vec![set_count("price", 6)])]);
    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    world.store.next([Fault::Overtaken(vec![change_count("price", Change::Delete)])]);
    assert_eq!(running.push(&Pushed::order("c")).await, 204);
    assert_eq!(world.counts().await, counts(&[("a", 5), ("b", 6), ("c", 0)]));
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_at_most_twelve_times_for_a_delivery() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    world.store.always(Fault::Conflict);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(runs.len(), 12);
    world.store.always(Fault::None);
    assert_eq!(world.counts().await, counts(&[]));
    assert!(world.published.messages().is_empty());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_rerun_derives_the_same_ids() {
    let world = World::new();
    let ids = Log::default();
    let seen = ids.clone();
    let running = world.run(service().publishes::<Shipped>().on(move |_: Placed, cx: pushbox::Context| {
        let (first, second) = (cx.new_id(), cx.new_id());
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
        seen.push((first.clone(), second, cx.shard(10)));
        cx.publish(&Shipped { order: first });
        async { Ok(()) }
    }));
    world.store.next([Fault::Conflict]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    let ids = ids.all();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0].0, ids[2].0);
    assert_eq!(world.published.ids().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_relays_the_events_of_the_receipt() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(service().publishes::<Shipped>().on({
        let runs = runs.clone();
        move |placed: Placed, cx: pushbox::Context| {
            runs.push(placed.order);
            // A second run would publish other events than the committed ones.
            cx.publish(&Shipped { order: format!("one of run {}", runs.len()) });
            cx.publish(&Shipped { order: format!("two of run {}", runs.len()) });
            async { Ok(()) }
        }
    }));
    world.published.next(&[Refusal::None, Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    world.published.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a").republished("2")).await, 503);
    assert_eq!(running.push(&Pushed::order("a").republished("3")).await, 204);
    assert_eq!(runs.len(), 3, "a duplicate runs the handler, then its commit finds the receipt");
    let messages = world.published.messages();
    let orders: BTreeSet<&[u8]> = messages.iter().map(|message| &*message.data).collect();
    assert_eq!(
        orders,
        [
            &br#"{"event":"order.shipped","order":"one of run 1"}"#[..],
            &br#"{"event":"order.shipped","order":"two of run 1"}"#[..]
        ]
        .into()
    );
    for message in &messages {
        let same = messages.iter().filter(|other| other.attributes["ce-id"] == message.attributes["ce-id"]);
        assert!(same.clone().count() >= 1);
        assert!(
            same.clone().all(|other| other == message),
            "a repeated publication differs from the first: {messages:?}"
        );
    }
    assert_eq!(world.published.ids().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_that_conflicts_with_its_own_writes_is_a_duplicate() {
    for trips in ["reject", "retry"] {
        let world = World::new();
        let running = world.run(service().publishes::<Shipped>().on(
            move |placed: Placed, cx: pushbox::Context| async move {
                if cx.get::<Count>(&placed.order).await?.is_some() {
                    let reason = "shipped already".to_owned();
                    return Err(if trips == "reject" { reject(reason) } else { Failure::Retry(reason) });
                }
                cx.put(&count(&placed.order, 1));
                cx.publish(&Shipped { order: placed.order });
                Ok(())
            },
        ));
        // The first delivery fails between its commit and its relay.
        world.published.next(&[Refusal::Fails]);
        assert_eq!(running.push(&Pushed::event("1", &order("a"))).await, 503, "{trips}");
        assert_eq!(running.push(&Pushed::event("1", &order("a"))).await, 204, "{trips}");
        assert_eq!(world.published.only().attributes["ce-type"], "order.shipped", "{trips}");
        // Another event about the same order fails.
        let expected = if trips == "reject" { 204 } else { 503 };
        assert_eq!(running.push(&Pushed::event("2", &order("a"))).await, expected, "{trips}");
        assert_eq!(world.documents("receipts").await.len(), 1, "{trips}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_handled_again_after_its_receipt_expires() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let day = Duration::from_secs(24 * 60 * 60);
    for (pause, orders) in [(day, 1), (43 * day, 1), (2 * day, 2), (44 * day, 2), (2 * day, 3)] {
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        tokio::time::advance(pause).await;
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        assert_eq!(world.counts().await, counts(&[("orders", orders)]));
    }
    assert_eq!(world.documents("receipts").await.len(), 1);
    // It is also handled again if the answer to the second commit is lost.
    tokio::time::advance(46 * day).await;
    world.store.next([Fault::None, Fault::AnswerLost]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, counts(&[("orders", 4)]));
}

#[tokio::test(start_paused = true)]
async fn one_of_fifty_deliveries_replaces_an_expired_receipt() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    tokio::time::advance(Duration::from_secs(46 * 24 * 60 * 60)).await;
    let pushes = concurrently(50, |_| {
        let running = running.clone();
        async move { running.push(&Pushed::order("a")).await }.boxed()
    });
    assert_eq!(pushes.await, [204; 50]);
    assert_eq!(world.counts().await, counts(&[("orders", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_store_failure_causes_a_redelivery() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(read_modify_write(&runs));
    world.store.fail_reads(true);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    world.store.fail_reads(false);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    // The read of the receipt fails.
    world.store.next([Fault::Conflict]);
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    world.store.next([Fault::AnswerLost]);
    world.store.fail_reads(true);
    assert_eq!(running.push(&Pushed::order("b")).await, 503);
    world.store.fail_reads(false);
    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    assert_eq!((runs.len(), world.counts().await), (2, counts(&[("orders", 1)])));
}

#[tokio::test(start_paused = true)]
async fn staged_changes_of_one_document_apply_in_order() {
    for (name, expected) in [
        ("add twice", 5),
        ("put and add", 13),
        ("delete and add", 3),
        ("add and put", 10),
        ("add and delete", 0),
        ("read and add", 103),
    ] {
        let world = World::new();
        let running = world.run(service().on(move |_: Placed, cx: pushbox::Context| async move {
            match name {
                "add twice" => {
                    cx.add(&count("a", 2), &["n"]);
                    cx.add(&count("a", 3), &["n"]);
                }
                "put and add" => {
                    cx.put(&count("a", 10));
                    cx.add(&count("a", 3), &["n"]);
                }
                "delete and add" => {
                    cx.delete::<Count>("a");
                    cx.add(&count("a", 3), &["n"]);
                }
                "add and put" => {
                    cx.add(&count("a", 3), &["n"]);
                    cx.put(&count("a", 10));
                }
                "add and delete" => {
                    cx.add(&count("a", 3), &["n"]);
                    cx.delete::<Count>("a");
                }
                _ => {
                    assert_eq!(cx.get::<Count>("a").await?, None);
                    cx.add(&count("a", 103), &["n"]);
                }
            }
            Ok(())
        }));
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        assert_eq!(world.counts().await.get("a").copied().unwrap_or(0), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_undeclared_event_or_an_invalid_amount_commits_nothing() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Odd {
        n: f64,
    }
    impl Document for Odd {
        const COLLECTION: &'static str = "odd";
        fn id(&self) -> String {
            "odd".to_owned()
        }
    }
    for mistake in
        ["an event that is not declared", "an amount that is not an integer", "an amount that is not a field"]
    {
        let world = World::new();
        let running = world.run(service().on(move |_: Placed, cx: pushbox::Context| {
            match mistake {
                "an event that is not declared" => cx.publish(&Shipped { order: "a".to_owned() }),
                "an amount that is not an integer" => cx.add(&Odd { n: 1.5 }, &["n"]),
                _ => cx.add(&count("a", 1), &["m"]),
            }
            async { Ok(()) }
        }));
        assert_eq!(running.push(&Pushed::order("a")).await, 503, "{mistake}");
        assert!(world.documents("receipts").await.is_empty(), "{mistake}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_store_refuses_becomes_a_dead_letter_at_once() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    world.store.next([Fault::Refused]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!((runs.len(), world.store.take_calls().0), (1, 1));
    let letter = world.published.only();
    assert_eq!(letter.topic, "test-service-dead-letter");
    assert_eq!(letter.attributes[attribute::DEAD_LETTER_REASON], "the store refuses the documents: injected");
    // A replay is handled after the cause is fixed.
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
}

/// The sum of two counts is always 10. The handler rejects the message if it sees another sum. During its
/// first run, another process changes both counts between the two reads.
#[tokio::test(start_paused = true)]
async fn a_message_is_not_rejected_because_of_inconsistent_reads() {
    let (world, runs) = (World::new(), Log::<String>::default());
    let (store, seen) = (world.store.inner.clone(), runs.clone());
    store.commit(&[set_count("a", 4), set_count("b", 6)]).await.expect("a commit");
    let running = world.run(service().on(move |placed: Placed, cx: pushbox::Context| {
        let (store, runs) = (store.clone(), seen.clone());
        async move {
            let a = cx.get::<Count>("a").await?.map_or(0, |count| count.n);
            if runs.len() == 0 {
                store.commit(&[set_count("a", 1), set_count("b", 9)]).await.expect("a commit");
            }
            runs.push(placed.order.clone());
            let b = cx.get::<Count>("b").await?.map_or(0, |count| count.n);
            // The order `wrong` is always rejected.
            if a + b != 10 || placed.order == "wrong" { Err(reject("they do not add up")) } else { Ok(()) }
        }
    }));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!((runs.len(), world.published.len()), (2, 0), "the message was rejected");
    assert_eq!(running.push(&Pushed::order("wrong")).await, 204);
    assert_eq!((runs.len(), world.published.len()), (3, 1), "the message was not rejected");
    // If the check of the reads gets no answer, the message is redelivered.
    world.store.always(Fault::Lost);
    assert_eq!(running.push(&Pushed::order("wrong").with("ce-id", "2")).await, 503);
}

#[tokio::test(start_paused = true)]
async fn create_takes_staged_changes_into_account() {
    let world = World::new();
    let running = world.run(service().on(|_: Placed, cx: pushbox::Context| async move {
        cx.add(&count("a", 2), &["n"]);
        assert_eq!(cx.create(&count("a", 100)), Created::Exists);
        cx.delete::<Count>("b");
        assert_eq!(cx.create(&count("b", 1)), Created::New);
        Ok(())
    }));
    world.store.inner.commit(&[set_count("b", 7)]).await.expect("a commit");
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, counts(&[("a", 2), ("b", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_message_with_up_to_100_attributes_can_become_a_dead_letter() {
    for attributes in [94, 97, 100] {
        let (world, runs) = (World::new(), Log::default());
        let running = world.run(counting(&runs));
        let mut poison = Pushed { data: b"nonsense".to_vec(), ..Pushed::order("a") };
        let missing = attributes - poison.attributes.len();
        poison.attributes.extend((0..missing).map(|n| (format!("a{n}"), "x".to_owned())));
        assert_eq!(running.push(&poison).await, 204, "{attributes}");
        let letter = world.published.only();
        assert!(letter.attributes.len() <= 100, "{attributes}");
        let kept = ["ce-id", attribute::DEAD_LETTER_REASON, attribute::DEAD_LETTER_MESSAGE_ID];
        assert!(kept.iter().all(|name| letter.attributes.contains_key(*name)), "{attributes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_has_the_key_of_the_original_message() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let mut by_hand = Pushed::order("a").republished("1");
    by_hand.attributes.clear();
    by_hand.data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    world.store.next([Fault::Refused]);
    assert_eq!(running.push(&by_hand).await, 204);
    let letter = world.published.only();
    let replay = |id: &str| Pushed { attributes: letter.attributes.clone(), ..by_hand.republished(id) };
    // The replays and the original message are handled once in all.
    for message in [replay("2"), replay("3"), by_hand.clone()] {
        assert_eq!(running.push(&message).await, 204);
        assert_eq!(world.counts().await, counts(&[("orders", 1)]));
    }
}

#[tokio::test(start_paused = true)]
async fn sources_and_ids_that_look_alike_have_different_keys() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let event = |source: &str, id: &str| Pushed::order("a").with("ce-source", source).with("ce-id", id);
    let mut by_hand = Pushed::order("a").republished("c");
    by_hand.attributes.retain(|name, _| name == "ce-type");
    let subscription = "projects/p/subscriptions/test-service-order-events";
    for (orders, message) in
        [(1, event("a b", "c")), (2, event("a", "b c")), (3, event(subscription, "c")), (4, by_hand)]
    {
        assert_eq!(running.push(&message).await, 204);
        assert_eq!(world.counts().await, counts(&[("orders", orders)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_failed_is_not_part_of_the_commit() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        let known = cx.get::<Count>("known").await.unwrap_or(None);
        assert!(known.is_none());
        cx.put(&count(&placed.order, 1));
        Ok(())
    }));
    world.store.fail_reads(true);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, counts(&[("a", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_stored_value_of_another_type_is_in_no_log_line() {
    let (world, logs) = (World::new(), Logs::collect());
    let Value::Object(fields) = json!({ "id": "a", "n": "ann@example.com" }) else { panic!("an object") };
    world.store.inner.commit(&[change_count("a", Change::Set(fields))]).await.expect("a commit");
    let reading = service()
        .on(|_: Placed, cx: pushbox::Context| async move { cx.get::<Count>("a").await.map(drop) })
        .get("/a", |documents: Documents| async move {
            documents.get::<Count>("a").await.map(Json).map_err(Problem::from)
        });
    let running = world.run(reading);
    assert_eq!(running.push(&Pushed::order("x")).await, 503);
    running.get("/a").await.assert_problem(503);
    let lines = [logs.of("WARN"), logs.of("ERROR")].concat();
    assert_eq!(
        lines.iter().filter(|line| line.contains("invalid type, expected i64")).count(),
        2,
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains("ann@")), "{lines:?}");
}
