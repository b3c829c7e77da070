//! Consumers that call the outside: claim, perform, complete.

use std::{sync::atomic::Ordering, time::Duration};

use futures::FutureExt;
use pushbox::wire::attribute;
use pushbox::{
    Failure, Path, Service, reject,
    store::{Change, Precondition, Write},
};
use serde_json::Value;

use super::{Answer, Charge, Charging, Outside, charging_each_order_once, set_count};
use crate::suite::{
    Count, Fault, Pushed, Refusal, Running, SERVICE, Shipped, World, concurrently, count, counts, logs::Logs,
    service,
};

/// Charges the current price for each order. An order with the id `free` needs no call.
fn charging(outside: &Outside) -> Service {
    let effect = Charging {
        outside: outside.clone(),
        claim: |placed, cx| {
            async move {
                if placed.order == "free" {
                    cx.publish(&Shipped { order: placed.order });
                    return Ok(None);
                }
                let amount = cx.get::<Count>("price").await?.map_or(100, |price| price.n);
                cx.add(&count("claimed", 1), &["n"]);
                Ok(Some(Charge { order: placed.order, amount }))
            }
            .boxed()
        },
        complete: |charge, outcome, cx| {
            async move {
                cx.add(&count("charged", 1), &["n"]);
                cx.add(&count(&outcome, charge.amount), &["n"]);
                cx.publish(&Shipped { order: charge.order });
                Ok(())
            }
            .boxed()
        },
    };
    service().publishes::<Shipped>().effect(effect)
}

fn start() -> (World, Outside, Running) {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging(&outside));
    (world, outside, running)
}

/// Checks that the order was claimed and charged once, and that its receipt holds one event and no claim.
async fn assert_charged_once(world: &World) {
    let counts = world.counts().await;
    assert_eq!((counts.get("claimed"), counts.get("charged")), (Some(&1), Some(&1)), "{counts:?}");
    assert_eq!(world.published.ids().len(), 1);
    let receipt = world.receipt().await;
    assert_eq!((&receipt["claim"], receipt["events"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn an_effect_makes_two_commits() {
    let (world, outside, running) = start();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    // The handler itself makes the one read.
    assert_eq!(world.store.take_calls(), (2, 1));
    assert_eq!(world.counts().await, counts(&[("claimed", 1), ("charged", 1), ("charge 1", 100)]));
    assert_eq!(outside.calls.all()[0].1, Charge { order: "a".to_owned(), amount: 100 });
    assert_eq!(outside.calls.all()[0].0.len(), 32);
    assert_charged_once(&world).await;

    assert_eq!(running.push(&Pushed::order("a").republished("another")).await, 204);
    assert_charged_once(&world).await;
    assert_eq!((outside.call_counts(), world.published.len()), ((1, 1), 2));

    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    assert_eq!(outside.call_counts(), (2, 2));
    let keys: Vec<String> = outside.calls.all().into_iter().map(|(key, _)| key).collect();
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test(start_paused = true)]
async fn an_effect_without_a_call_makes_one_commit() {
    let (world, outside, running) = start();
    for _ in 0..2 {
        assert_eq!(running.push(&Pushed::order("free")).await, 204);
    }
    assert_eq!((outside.call_counts(), world.published.ids().len()), ((0, 0), 1));
    assert_eq!(world.store.take_calls(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn concurrent_duplicates_wait_for_one_outcome() {
    for takes in [0, 10, 1_000, 7_900] {
        let (world, outside, running) = start();
        outside.next(&[Answer::Slowly(takes)]);
        let pushes = concurrently(50, |n| {
            let (running, message) = (running.clone(), Pushed::order("a").republished(&n.to_string()));
            async move { running.push(&message).await }.boxed()
        });
        assert_eq!(pushes.await, [204; 50], "{takes}");
        assert_eq!(outside.call_counts(), (1, 1), "{takes}");
        assert_charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_repeated_with_the_same_key_and_input() {
    let (world, outside, running) = start();
    outside.next(&[Answer::Retry, Answer::Retry]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    // The price changes after the claim. The call stays the same, because it may have taken effect.
    world.store.inner.commit(&[set_count("price", 999)]).await.expect("a commit");
    let began = tokio::time::Instant::now();
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert!(began.elapsed() < Duration::from_secs(1), "the claim was not released");
    assert_eq!(outside.call_counts(), (3, 1));
    assert_charged_once(&world).await;
    assert_eq!(world.counts().await["charge 3"], 100);
}

#[tokio::test(start_paused = true)]
async fn a_lost_release_is_sent_again() {
    let (world, outside, running) = start();
    outside.next(&[Answer::Retry]);
    world.store.next([Fault::None, Fault::Lost, Fault::AnswerLost]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    let began = tokio::time::Instant::now();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "it has waited {:?}", began.elapsed());
    assert_charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_waits_for_the_lease_if_the_release_is_lost() {
    let (world, outside, running) = start();
    outside.next(&[Answer::Retry]);
    world.store.next([Fault::None, Fault::Lost, Fault::Lost, Fault::Lost]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(running.push(&Pushed::order("a")).await, 503, "the wait of 12 seconds ends before the lease");
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (2, 1));
    assert_charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_becomes_a_dead_letter() {
    let (world, outside, running) = start();
    outside.next(&[Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let letter = world.published.only();
    assert_eq!(letter.topic, "test-service-dead-letter");
    assert_eq!(letter.attributes[attribute::DEAD_LETTER_REASON], "the card is void");
    assert_eq!(letter.attributes["ce-id"], "a");
    assert_eq!(letter.data, Pushed::order("a").data);
    assert_eq!(world.counts().await, counts(&[("claimed", 1)]));
}

/// Waits until the outside has had `n` calls in all.
async fn until_called(outside: &Outside, n: usize) {
    while outside.calls.len() < n {
        outside.called.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_taken_over_after_a_crash_before_the_call() {
    let (world, outside, running) = start();
    world.store.next([Fault::AnswerHangs]);
    let crashed = tokio::spawn({
        let running = running.clone();
        async move { running.push(&Pushed::order("a")).await }
    });
    while world.documents("receipts").await.is_empty() {
        tokio::task::yield_now().await;
    }
    crashed.abort();
    world.store.inner.commit(&[set_count("price", 999)]).await.expect("a commit");
    let began = tokio::time::Instant::now();
    assert_eq!(running.push(&Pushed::order("a")).await, 503, "the lease has not ended");
    assert_eq!(outside.call_counts(), (0, 0));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert!((20..22).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(outside.call_counts(), (1, 1));
    assert_charged_once(&world).await;
    assert_eq!(world.counts().await["charge 1"], 100, "not the price at the claim");
}

#[tokio::test(start_paused = true)]
async fn a_takeover_after_a_crash_repeats_the_call_with_the_same_key_and_input() {
    for crash in [Answer::Never, Answer::Panic] {
        let (world, outside, running) = start();
        outside.next(&[crash]);
        let crashed = tokio::spawn({
            let running = running.clone();
            async move { running.push(&Pushed::order("a")).await }
        });
        until_called(&outside, 1).await;
        crashed.abort();
        world.store.inner.commit(&[set_count("price", 999)]).await.expect("a commit");
        tokio::time::advance(Duration::from_secs(12)).await;
        // Fifty deliveries share one takeover.
        let pushes = concurrently(50, |n| {
            let (running, message) = (running.clone(), Pushed::order("a").republished(&n.to_string()));
            async move { running.push(&message).await }.boxed()
        });
        assert_eq!(pushes.await, [204; 50], "{crash:?}");
        assert_eq!(outside.call_counts(), (2, 1), "{crash:?}");
        assert_charged_once(&world).await;
        assert_eq!(world.counts().await["charge 2"], 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_cut_off_before_its_lease_ends() {
    let (world, outside, running) = start();
    outside.next(&[Answer::Never]);
    let began = tokio::time::Instant::now();
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(began.elapsed().as_secs(), 9);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(began.elapsed().as_secs(), 20);
    assert_eq!(outside.call_counts(), (2, 1));
    assert_charged_once(&world).await;
}

/// A process loses its connection to the store until its lease ends. Its commit is applied after another
/// process has taken over the claim, or has completed it.
#[tokio::test(start_paused = true)]
async fn a_late_commit_of_a_stale_holder_changes_nothing() {
    for (stale_answer, successor_takes_seconds) in
        [(Answer::Yes, 0), (Answer::Yes, 7), (Answer::Retry, 0), (Answer::Retry, 7)]
    {
        let case = format!("{stale_answer:?}, {successor_takes_seconds}");
        let (cut_off, outside, running) = start();
        outside.next(&[stale_answer, Answer::Slowly(successor_takes_seconds * 1000)]);
        // The claim is committed in time. All later commits arrive after the takeover.
        cut_off.store.next([Fault::None]);
        cut_off.store.always(Fault::Late(Duration::from_secs(25)));
        let stale = tokio::spawn(async move { running.push(&Pushed::order("a")).await });
        tokio::time::sleep(Duration::from_secs(20)).await;
        let world = cut_off.without_faults();
        let running = world.run(charging(&outside));
        let push = |message: &'static str| {
            let running = running.clone();
            tokio::spawn(async move { running.push(&Pushed::order("a").republished(message)).await })
        };
        let successor = push("successor");
        until_called(&outside, 2).await;
        // A third delivery waits for the successor.
        assert_eq!(push("third").await.expect("a status"), 204, "{case}");
        assert_eq!(successor.await.expect("a status"), 204, "{case}");
        assert_eq!(stale.await.expect("a status"), 503, "{case}");
        let before = world.receipt().await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.receipt().await, before, "{case}: the stale holder changed the receipt");
        assert_eq!(outside.call_counts(), (2, 1), "{case}");
        assert_charged_once(&world).await;
        assert_eq!(world.counts().await["charge 2"], 100, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_the_store_refuses_causes_no_second_call() {
    let (world, outside) = (World::new(), Outside::default());
    // The store refuses the completion's document each time.
    let running = world.run(service().effect(Charging {
        outside: outside.clone(),
        claim: |placed, _| async { Ok(Some(Charge { order: placed.order, amount: 1 })) }.boxed(),
        complete: |charge, _, cx| {
            let size = if charge.order == "large" { 2 << 20 } else { 1 };
            cx.put(&count(&"x".repeat(size), 1));
            async { Ok(()) }.boxed()
        },
    }));
    for _ in 0..100 {
        assert_eq!(running.push(&Pushed::order("large")).await, 204);
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(outside.call_counts(), (1, 1));
    let letters = world.published.messages();
    assert!(letters.iter().all(|letter| letter.topic == "test-service-dead-letter"));
    let reason = &letters[0].attributes[attribute::DEAD_LETTER_REASON];
    assert!(reason.contains("a document in counts: its id is longer than 1500 bytes"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_fails_for_a_day_causes_no_second_call() {
    for failure in ["retry", "panic"] {
        let (world, outside) = (World::new(), Outside::default());
        let running = world.run(service().publishes::<Shipped>().effect(Charging {
            outside: outside.clone(),
            claim: |placed, _| async { Ok(Some(Charge { order: placed.order, amount: 1 })) }.boxed(),
            complete: |charge, _, cx| {
                async move {
                    if cx.get::<Count>("mended").await?.is_none() {
                        assert_ne!(charge.order, "panic");
                        return Err(Failure::Retry("not yet".to_owned()));
                    }
                    cx.publish(&Shipped { order: charge.order });
                    Ok(())
                }
                .boxed()
            },
        }));
        let expected = if failure == "panic" { 500 } else { 503 };
        for _ in 0..50 {
            assert_eq!(running.push(&Pushed::order(failure)).await, expected);
            tokio::time::advance(Duration::from_secs(1_800)).await;
        }
        world.store.inner.commit(&[set_count("mended", 1)]).await.expect("a commit");
        assert_eq!(running.push(&Pushed::order(failure)).await, 204);
        assert_eq!(outside.call_counts(), (1, 1), "{failure}");
        assert_eq!(world.published.ids().len(), 1, "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandonment_that_panics_causes_no_second_call() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    outside.next(&[Answer::Reject]);
    outside.breaks_abandon.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(running.push(&Pushed::order("a")).await, 500);
        // The lease ends.
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    outside.breaks_abandon.store(false, Ordering::Relaxed);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (1, 1));
    assert_eq!(world.published.only().attributes[attribute::DEAD_LETTER_REASON], "the card is void");
    assert_eq!(world.counts().await, counts(&[]), "the claim's writes stay");
}

#[tokio::test(start_paused = true)]
async fn a_call_continues_after_the_caller_hangs_up() {
    let (world, outside, running) = start();
    outside.next(&[Answer::Slowly(3_000)]);
    let push = tokio::spawn({
        let running = running.clone();
        async move { running.push(&Pushed::order("a")).await }
    });
    until_called(&outside, 1).await;
    push.abort();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (1, 1));
    assert_charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_leaves_time_for_the_call_and_its_completion() {
    let (world, outside, running) = start();
    outside.next(&[Answer::Never, Answer::Slowly(7_900)]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    // This delivery arrives 11 seconds before the lease ends, waits, and still has 8 seconds for the call.
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (2, 1));
    assert_charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_took_too_long_makes_no_call() {
    let (world, outside, running) = start();
    world.store.next([Fault::Slow(Duration::from_secs(7))]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(outside.call_counts(), (0, 0));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (1, 1));
    assert_charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_with_a_fast_clock_does_not_take_over_a_live_claim() {
    for seconds in [10, 30, 3_600] {
        let (world, outside, running) = start();
        let ahead = world.with_clock_ahead(Duration::from_secs(seconds)).run(charging(&outside));
        outside.next(&[Answer::Slowly(7_000)]);
        let first = tokio::spawn(async move { running.push(&Pushed::order("a")).await });
        until_called(&outside, 1).await;
        assert_eq!(ahead.push(&Pushed::order("a")).await, 204, "{seconds}");
        assert_eq!(first.await.expect("a status"), 204, "{seconds}");
        assert_eq!(outside.call_counts(), (1, 1), "{seconds}");
        assert_charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_deployments_use_different_idempotency_keys() {
    let keys = futures::future::join_all((0..2).map(|_| async {
        let (_, outside, running) = start();
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        outside.calls.all()[0].0.clone()
    }));
    let keys = keys.await;
    assert_ne!(keys[0], keys[1], "one deployment's charge would pay for the order of the other");
}

#[tokio::test(start_paused = true)]
async fn a_replay_succeeds_after_a_rejected_call() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    outside.next(&[Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.published.only().topic, "test-service-dead-letter");
    assert_eq!(world.counts().await, counts(&[]));
    // A person publishes only the data of the dead letter. Then the message comes with its attributes.
    let replay = Pushed { attributes: [].into(), ..Pushed::order("a") };
    let data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    for replay in [Pushed { data, ..replay }, Pushed::order("a")] {
        assert_eq!(running.push(&replay).await, 204);
        assert_eq!(world.counts().await, counts(&[("a", 1)]));
        assert_eq!(outside.calls.len(), 2, "the second replay is a duplicate");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_commits_and_answers_cause_no_second_call() {
    for (faults, first, calls) in [
        // Faults of the claim.
        (vec![Fault::AnswerLost], 204, 1),
        (vec![Fault::Lost], 204, 1),
        (vec![Fault::Lost, Fault::AnswerLost], 204, 1),
        (vec![Fault::AnswerLost, Fault::Lost, Fault::Lost], 503, 1),
        (vec![Fault::Conflict], 204, 1),
        // Faults of the completion.
        (vec![Fault::None, Fault::AnswerLost], 204, 1),
        (vec![Fault::None, Fault::Lost], 204, 1),
        (vec![Fault::None, Fault::AnswerLost, Fault::Lost, Fault::Lost], 503, 1),
        (vec![Fault::None, Fault::Conflict], 204, 1),
        // The claim keeps the outcome before the delivery fails.
        (vec![Fault::None, Fault::Lost, Fault::Lost, Fault::Lost], 503, 1),
        (vec![Fault::None, Fault::Lost, Fault::Lost, Fault::Lost, Fault::Lost, Fault::AnswerLost], 503, 1),
    ] {
        let (world, outside, running) = start();
        world.store.next(faults.clone());
        assert_eq!(running.push(&Pushed::order("a")).await, first, "{faults:?}");
        // Pub/Sub redelivers after its back-off.
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(running.push(&Pushed::order("a")).await, 204, "{faults:?}");
        assert_eq!(outside.call_counts(), (calls, 1), "{faults:?}");
        assert_charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_makes_one_call_despite_a_lost_commit_or_answer() {
    for faults in [vec![Fault::None, Fault::AnswerLost], vec![Fault::None, Fault::Lost]] {
        let (world, outside, running) = start();
        outside.next(&[Answer::Never]);
        assert_eq!(running.push(&Pushed::order("a")).await, 503);
        tokio::time::advance(Duration::from_secs(10)).await;
        // The first commit attempts a new claim and finds the receipt.
        world.store.next(faults.clone());
        assert_eq!(running.push(&Pushed::order("a")).await, 204, "{faults:?}");
        assert_eq!(outside.call_counts(), (2, 1), "{faults:?}");
        assert_charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_of_a_completed_effect_only_relays() {
    let (world, outside, running) = start();
    world.published.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (1, 1));
    assert_charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_whose_claim_conflicts_with_its_own_writes_is_a_duplicate() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(service().publishes::<Shipped>().effect(Charging {
        outside: outside.clone(),
        claim: |placed, cx| {
            async move {
                if cx.get::<Count>(&placed.order).await?.is_some() {
                    return Err(reject("charged already"));
                }
                cx.put(&count(&placed.order, 1));
                Ok(Some(Charge { order: placed.order, amount: 1 }))
            }
            .boxed()
        },
        complete: |charge, _, cx| {
            cx.publish(&Shipped { order: charge.order });
            async { Ok(()) }.boxed()
        },
    }));
    outside.next(&[Answer::Retry]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    world.published.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (2, 1));
    assert_eq!(world.published.only().attributes["ce-type"], "order.shipped");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_publishes_before_its_call_fails() {
    let world = World::new();
    let running = world.run(service().publishes::<Shipped>().effect(Charging {
        outside: Outside::default(),
        claim: |placed, cx| {
            cx.publish(&Shipped { order: placed.order.clone() });
            async { Ok(Some(Charge { order: placed.order, amount: 1 })) }.boxed()
        },
        complete: |_, _, _| async { Ok(()) }.boxed(),
    }));
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert!(world.documents("receipts").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_completion_runs_again_after_a_conflict_without_a_second_call() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(service().effect(Charging {
        outside: outside.clone(),
        claim: |placed, _| async { Ok(Some(Charge { order: placed.order, amount: 1 })) }.boxed(),
        complete: |_, _, cx| {
            async move {
                let n = cx.get::<Count>("price").await?.map_or(0, |price| price.n);
                cx.put(&count("price", n + 1));
                Ok(())
            }
            .boxed()
        },
    }));
    world.store.next([
        Fault::None,
        Fault::Overtaken(vec![set_count("price", 10)]),
        Fault::Overtaken(vec![set_count("price", 20)]),
    ]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (1, 1));
    assert_eq!(world.counts().await, counts(&[("price", 21)]));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_without_another_holder_keeps_the_outcome() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging(&outside));
    world.store.next([Fault::None, Fault::Lost, Fault::Lost, Fault::Lost, Fault::Conflict]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (1, 1), "the outcome was lost");
}

#[tokio::test(start_paused = true)]
async fn a_claim_with_an_unknown_phase_does_not_count_as_done() {
    let (world, outside, logs) = (World::new(), Outside::default(), Logs::collect());
    let running = world.run(charging(&outside));
    outside.next(&[Answer::Retry]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    let receipt = world.stored("receipts").await.remove(0);
    let mut fields = receipt.fields.clone();
    fields["claim"]["phase"] = Value::from("ann@example.com");
    let path = Path::new(SERVICE, "receipts", &receipt.id);
    let write = Write { path, change: Change::Set(fields), only_if: Precondition::None };
    world.store.inner.commit(&[write]).await.expect("a commit");
    tokio::time::advance(Duration::from_secs(30)).await;
    let status = running.push(&Pushed::order("a")).await;
    assert_eq!(status, 503, "acknowledged although the order was never charged");
    let lines = logs.of("WARN");
    assert!(lines.iter().any(|line| line.contains("a receipt cannot be read: unknown variant")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("ann@")), "{lines:?}");
}
