//! Consumers that run in a transaction.

use std::{collections::BTreeSet, time::Duration};

use futures::FutureExt;
use pushbox::wire::attribute;
use pushbox::{
    Created, Document, Failure, Path, Service, reject,
    store::{Change, Fields, Precondition, Write},
};
use serde_json::Value;

use crate::suite::{
    Count, Fault, Log, Placed, Pushed, Recorder, Refusal, SERVICE, Shipped, World, are, at_once, count,
    service,
};

/// Counts orders and ships each. `runs` has an entry for each time the handler ran.
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

/// Somebody else's write of a count.
fn other(id: &str, n: i64) -> Write {
    let Ok(Value::Object(fields)) = serde_json::to_value(count(id, n)) else { panic!("an object") };
    write(id, Change::Set(fields))
}

fn write(id: &str, change: Change) -> Write {
    Write { path: Path::new(SERVICE, Count::COLLECTION, id), change, only_if: Precondition::None }
}

fn published(recorder: &Recorder) -> (usize, usize) {
    (recorder.len(), recorder.ids().len())
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_one_commit() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.store.calls(), (1, 0));
    assert_eq!(world.counts().await, are(&[("orders", 1)]));
    assert_eq!(published(&world.published), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_a_duplicate_whatever_its_message_id() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let first = Pushed::order("a");
    for repeat in [first.clone(), first.clone(), first.again("another"), first.clone().with("x", "y")] {
        assert_eq!(running.push(&repeat).await, 204);
    }
    assert_eq!(world.counts().await, are(&[("orders", 1)]));
    // Each repeat relays, since the one before may have died before it did.
    assert_eq!(published(&world.published), (4, 1));

    let of_another = first.with("ce-source", "//pushbox/third-service");
    assert_eq!(running.push(&of_another).await, 204);
    assert_eq!(world.counts().await, are(&[("orders", 2)]));
    assert_eq!(published(&world.published), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn without_an_id_of_its_own_the_message_id_tells_repeats() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let mut by_hand = Pushed::order("a");
    by_hand.attributes.clear();
    by_hand.data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    for (message_id, orders) in [("1", 1), ("1", 1), ("2", 2)] {
        assert_eq!(running.push(&by_hand.again(message_id)).await, 204);
        assert_eq!(world.counts().await, are(&[("orders", orders)]));
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_at_once_are_one() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let pushes = at_once(50, |n| {
        let (running, message) = (running.clone(), Pushed::order("a").again(&n.to_string()));
        async move { running.push(&message).await }.boxed()
    });
    assert_eq!(pushes.await, [204; 50]);
    assert!(runs.len() > 1, "they did not overlap");
    assert_eq!(world.counts().await, are(&[("orders", 1)]));
    assert_eq!(world.published.ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_does_not_get_through_is_sent_again() {
    for (faults, expected, commits, runs_expected) in [
        (vec![Fault::Lost], 204, 2, 1),
        (vec![Fault::Lost, Fault::Lost], 204, 3, 1),
        // The first one took: the second finds the receipt.
        (vec![Fault::AnswerLost], 204, 2, 1),
        (vec![Fault::AnswerLost, Fault::Lost], 204, 3, 1),
        (vec![Fault::Lost, Fault::AnswerLost], 204, 3, 1),
        // Then it is left to a later delivery.
        (vec![Fault::Lost, Fault::Lost, Fault::Lost], 503, 3, 1),
        (vec![Fault::AnswerLost, Fault::Lost, Fault::Lost], 503, 3, 1),
        (vec![Fault::Failed], 204, 2, 1),
        (vec![Fault::Conflict], 204, 2, 2),
    ] {
        let (world, runs) = (World::new(), Log::default());
        let running = world.run(counting(&runs));
        world.store.next(faults.clone());
        assert_eq!(running.push(&Pushed::order("a")).await, expected, "{faults:?}");
        assert_eq!((world.store.calls().0, runs.len()), (commits, runs_expected), "{faults:?}");
        if expected == 204 {
            assert_eq!(published(&world.published), (1, 1), "{faults:?}");
        }
        assert_eq!(running.push(&Pushed::order("a")).await, 204, "{faults:?}");
        assert_eq!(world.counts().await, are(&[("orders", 1)]), "{faults:?}");
        assert_eq!(world.published.ids().len(), 1, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn create_learns_of_what_is_there_when_the_handler_runs_again() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        if cx.create(&count(&placed.order, 1)).exists() {
            cx.put(&count("taken", 1));
        }
        Ok(())
    }));
    assert_eq!(running.push(&Pushed::event("1", &order("a"))).await, 204);
    assert_eq!(world.store.calls(), (1, 0), "create must not ask first");
    assert_eq!(running.push(&Pushed::event("2", &order("a"))).await, 204);
    assert_eq!(world.store.calls(), (2, 2), "one look for the receipt, one for the document");
    assert_eq!(world.counts().await, are(&[("a", 1), ("taken", 1)]));

    // It went while the handler ran again, and it came while it ran first.
    world.store.next([Fault::None, Fault::Outrun(vec![write("a", Change::Delete)])]);
    assert_eq!(running.push(&Pushed::event("3", &order("a"))).await, 204);
    world.store.next([Fault::Outrun(vec![other("b", 7)])]);
    assert_eq!(running.push(&Pushed::event("4", &order("b"))).await, 204);
    assert_eq!(world.counts().await, are(&[("a", 1), ("b", 7), ("taken", 1)]));
}

#[tokio::test(start_paused = true)]
async fn two_creators_of_one_document_make_one() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        match cx.create(&count("the one", i64::from(placed.quantity))) {
            Created::New => cx.add(&count("created", 1), &["n"]),
            Created::Exists => cx.add(&count("refused", 1), &["n"]),
        }
        Ok(())
    }));
    let pushes = at_once(20, |n| {
        let (running, message) = (running.clone(), Pushed::order(&n.to_string()));
        async move { running.push(&message).await }.boxed()
    });
    assert_eq!(pushes.await, [204; 20]);
    assert_eq!(world.counts().await, are(&[("the one", 1), ("created", 1), ("refused", 19)]));
}

fn order(id: &str) -> Placed {
    Placed { order: id.to_owned(), quantity: 1 }
}

/// Reads, adds one and writes.
fn read_modify_write(runs: &Log<String>) -> Service {
    let runs = runs.clone();
    service().on(move |placed: Placed, cx: pushbox::Context| {
        let runs = runs.clone();
        async move {
            runs.push(placed.order);
            let n = cx.get::<Count>("orders").await?.map_or(0, |count| count.n);
            cx.put(&count("orders", n + 1));
            // A second look sees what is staged.
            assert_eq!(cx.get::<Count>("orders").await?, Some(count("orders", n + 1)));
            Ok(())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_runs_the_handler_again() {
    for (outrun, expected) in [
        (vec![other("orders", 10)], 11),
        (vec![write("orders", Change::Delete)], 1),
        (
            vec![write(
                "orders",
                Change::Add { fields: Fields::new(), amounts: [("n".to_owned(), 5)].into() },
            )],
            7,
        ),
    ] {
        let (world, runs) = (World::new(), Log::default());
        let running = world.run(read_modify_write(&runs));
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        world.store.next([Fault::Outrun(outrun.clone())]);
        assert_eq!(running.push(&Pushed::order("b")).await, 204);
        assert_eq!(runs.all(), ["a", "b", "b"], "{outrun:?}");
        assert_eq!(world.counts().await, are(&[("orders", expected)]), "{outrun:?}");
    }
    // What was absent when it was read.
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(read_modify_write(&runs));
    world.store.next([Fault::Outrun(vec![other("orders", 10)])]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, are(&[("orders", 11)]));
}

#[tokio::test(start_paused = true)]
async fn no_update_is_lost() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(read_modify_write(&runs));
    let mut expected = 0;
    for round in 0..5 {
        let pushes = at_once(8, |n| {
            let (running, message) = (running.clone(), Pushed::order(&format!("{round}-{n}")));
            async move { running.push(&message).await }.boxed()
        });
        // Whoever lost too often comes again.
        for (n, status) in pushes.await.into_iter().enumerate() {
            if status == 503 {
                assert_eq!(running.push(&Pushed::order(&format!("{round}-{n}"))).await, 204);
            }
        }
        expected += 8;
        assert_eq!(world.counts().await, are(&[("orders", expected)]));
    }
    assert!(runs.len() > 40, "they did not overlap");
}

#[tokio::test(start_paused = true)]
async fn a_decision_never_rests_on_what_has_changed() {
    let world = World::new();
    let running = world.run(service().on(|placed: Placed, cx: pushbox::Context| async move {
        let price = cx.get::<Count>("price").await?.map_or(0, |price| price.n);
        cx.put(&count(&placed.order, price));
        Ok(())
    }));
    // It was absent when it was read, then it was there.
    world.store.next([Fault::Outrun(vec![other("price", 5)])]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    world.store.next([Fault::Outrun(vec![other("price", 6)])]);
    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    world.store.next([Fault::Outrun(vec![write("price", Change::Delete)])]);
    assert_eq!(running.push(&Pushed::order("c")).await, 204);
    assert_eq!(world.counts().await, are(&[("a", 5), ("b", 6), ("c", 0)]));
}

#[tokio::test(start_paused = true)]
async fn races_are_run_a_bounded_number_of_times() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    world.store.all(Fault::Conflict);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(runs.len(), 12);
    world.store.all(Fault::None);
    assert_eq!(world.counts().await, are(&[]));
    assert!(world.published.messages().is_empty());
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, are(&[("orders", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_re_run_gives_the_same_ids() {
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
async fn what_could_not_be_relayed_is_relayed_by_the_redelivery() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(service().publishes::<Shipped>().on({
        let runs = runs.clone();
        move |placed: Placed, cx: pushbox::Context| {
            runs.push(placed.order);
            // What a repeat would say differs from what was committed.
            cx.publish(&Shipped { order: format!("one of run {}", runs.len()) });
            cx.publish(&Shipped { order: format!("two of run {}", runs.len()) });
            async { Ok(()) }
        }
    }));
    world.published.next(&[Refusal::None, Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    world.published.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a").again("2")).await, 503);
    assert_eq!(running.push(&Pushed::order("a").again("3")).await, 204);
    assert_eq!(runs.len(), 3, "a repeat finds the receipt when it commits, not before");
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
        assert!(same.clone().all(|other| other == message), "a repeat differs from the first: {messages:?}");
    }
    assert_eq!(world.published.ids().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_that_trips_over_its_own_work_is_a_duplicate() {
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
        // It dies between its commit and its relay.
        world.published.next(&[Refusal::Fails]);
        assert_eq!(running.push(&Pushed::event("1", &order("a"))).await, 503, "{trips}");
        assert_eq!(running.push(&Pushed::event("1", &order("a"))).await, 204, "{trips}");
        assert_eq!(world.published.only().attributes["ce-type"], "order.shipped", "{trips}");
        // Another event about the same does fail.
        let expected = if trips == "reject" { 204 } else { 503 };
        assert_eq!(running.push(&Pushed::event("2", &order("a"))).await, expected, "{trips}");
        assert_eq!(world.documents("receipts").await.len(), 1, "{trips}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_receipt_counts_as_none() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let day = Duration::from_secs(24 * 60 * 60);
    for (pause, orders) in [(day, 1), (43 * day, 1), (2 * day, 2), (44 * day, 2), (2 * day, 3)] {
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        tokio::time::advance(pause).await;
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        assert_eq!(world.counts().await, are(&[("orders", orders)]));
    }
    assert_eq!(world.documents("receipts").await.len(), 1);
    // Even if the answer to its second commit is lost.
    tokio::time::advance(46 * day).await;
    world.store.next([Fault::None, Fault::AnswerLost]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, are(&[("orders", 4)]));
}

#[tokio::test(start_paused = true)]
async fn an_expired_receipt_is_replaced_by_one_of_fifty() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    tokio::time::advance(Duration::from_secs(46 * 24 * 60 * 60)).await;
    let pushes = at_once(50, |_| {
        let running = running.clone();
        async move { running.push(&Pushed::order("a")).await }.boxed()
    });
    assert_eq!(pushes.await, [204; 50]);
    assert_eq!(world.counts().await, are(&[("orders", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_a_reason_to_come_again() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(read_modify_write(&runs));
    world.store.reads_fail(true);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    world.store.reads_fail(false);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    // The look for the receipt fails.
    world.store.next([Fault::Conflict]);
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    world.store.next([Fault::AnswerLost]);
    world.store.reads_fail(true);
    assert_eq!(running.push(&Pushed::order("b")).await, 503);
    world.store.reads_fail(false);
    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    assert_eq!((runs.len(), world.counts().await), (2, are(&[("orders", 1)])));
}

#[tokio::test(start_paused = true)]
async fn what_is_staged_twice_counts_twice() {
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
async fn what_cannot_be_committed_as_it_was_meant_is_not_committed() {
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
        ["an event that is not declared", "an amount that is no integer", "an amount that is no field"]
    {
        let world = World::new();
        let running = world.run(service().on(move |_: Placed, cx: pushbox::Context| {
            match mistake {
                "an event that is not declared" => cx.publish(&Shipped { order: "a".to_owned() }),
                "an amount that is no integer" => cx.add(&Odd { n: 1.5 }, &["n"]),
                _ => cx.add(&count("a", 1), &["m"]),
            }
            async { Ok(()) }
        }));
        assert_eq!(running.push(&Pushed::order("a")).await, 503, "{mistake}");
        assert!(world.documents("receipts").await.is_empty(), "{mistake}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_for_good_is_a_dead_letter_at_once() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    world.store.next([Fault::Refused]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!((runs.len(), world.store.calls().0), (1, 1));
    let letter = world.published.only();
    assert_eq!(letter.topic, "test-service-dead-letter");
    assert_eq!(letter.attributes[attribute::DEAD_LETTER_REASON], "the store refuses the documents: told to");
    // A replay is handled, once the cause is mended.
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, are(&[("orders", 1)]));
}

/// Rejects when two counts that always are 10 together seem not to be. In its first run, others
/// change both between its two reads.
#[tokio::test(start_paused = true)]
async fn a_rejection_never_rests_on_reads_that_were_not_true_together() {
    let (world, runs) = (World::new(), Log::<String>::default());
    let (store, seen) = (world.store.inner.clone(), runs.clone());
    store.commit(&[other("a", 4), other("b", 6)]).await.expect("a commit");
    let running = world.run(service().on(move |placed: Placed, cx: pushbox::Context| {
        let (store, runs) = (store.clone(), seen.clone());
        async move {
            let a = cx.get::<Count>("a").await?.map_or(0, |count| count.n);
            if runs.len() == 0 {
                store.commit(&[other("a", 1), other("b", 9)]).await.expect("a commit");
            }
            runs.push(placed.order.clone());
            let b = cx.get::<Count>("b").await?.map_or(0, |count| count.n);
            // One order is wrong whatever the counts are.
            if a + b != 10 || placed.order == "wrong" { Err(reject("they do not add up")) } else { Ok(()) }
        }
    }));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!((runs.len(), world.published.len()), (2, 0), "it was rejected");
    assert_eq!(running.push(&Pushed::order("wrong")).await, 204);
    assert_eq!((runs.len(), world.published.len()), (3, 1), "it was not rejected");
    // Where the check gets no answer, the message comes again.
    world.store.all(Fault::Lost);
    assert_eq!(running.push(&Pushed::order("wrong").with("ce-id", "2")).await, 503);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_was_added_to_exists() {
    let world = World::new();
    let running = world.run(service().on(|_: Placed, cx: pushbox::Context| async move {
        cx.add(&count("a", 2), &["n"]);
        assert_eq!(cx.create(&count("a", 100)), Created::Exists);
        cx.delete::<Count>("b");
        assert_eq!(cx.create(&count("b", 1)), Created::New);
        Ok(())
    }));
    world.store.inner.commit(&[other("b", 7)]).await.expect("a commit");
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.counts().await, are(&[("a", 2), ("b", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_message_with_as_many_attributes_as_pubsub_takes_can_be_parked() {
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
async fn a_dead_letter_is_replayed_as_the_message_that_it_was() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let mut by_hand = Pushed::order("a").again("1");
    by_hand.attributes.clear();
    by_hand.data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    world.store.next([Fault::Refused]);
    assert_eq!(running.push(&by_hand).await, 204);
    let letter = world.published.only();
    let replay = |id: &str| Pushed { attributes: letter.attributes.clone(), ..by_hand.again(id) };
    // However often it is replayed, and if the message itself comes once more.
    for message in [replay("2"), replay("3"), by_hand.clone()] {
        assert_eq!(running.push(&message).await, 204);
        assert_eq!(world.counts().await, are(&[("orders", 1)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_looks_like_another_key_is_another_key() {
    let (world, runs) = (World::new(), Log::default());
    let running = world.run(counting(&runs));
    let event = |source: &str, id: &str| Pushed::order("a").with("ce-source", source).with("ce-id", id);
    let mut by_hand = Pushed::order("a").again("c");
    by_hand.attributes.retain(|name, _| name == "ce-type");
    let subscription = "projects/p/subscriptions/test-service-order-events";
    for (orders, message) in
        [(1, event("a b", "c")), (2, event("a", "b c")), (3, event(subscription, "c")), (4, by_hand)]
    {
        assert_eq!(running.push(&message).await, 204);
        assert_eq!(world.counts().await, are(&[("orders", orders)]));
    }
}
