//! Consumers that call the outside: claim, perform, complete.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use pushbox::wire::attribute;
use pushbox::{
    Context, Document, Effect, Failure, Path, Service, reject,
    store::{Change, Precondition, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use crate::suite::{
    Count, Fault, Log, Placed, Pushed, Refusal, Running, SERVICE, Shipped, World, are, at_once, count,
    service,
};

/// What the outside is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Charge {
    pub(super) order: String,
    pub(super) amount: i64,
}

/// How the outside answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Yes,
    Slowly(u64),
    Retry,
    Reject,
    Never,
    Panic,
}

/// The outside world: what it was asked, with which key, and how it answers.
#[derive(Clone, Default)]
pub(super) struct Outside {
    pub(super) asked: Log<(String, Charge)>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    called: Arc<Notify>,
}

impl Outside {
    pub(super) fn next(&self, answers: &[Answer]) {
        self.answers.lock().expect("a lock").extend(answers);
    }

    async fn charge(self, charge: Charge, key: String) -> Result<String, Failure> {
        self.asked.push((key, charge));
        let answer = self.answers.lock().expect("a lock").pop_front().unwrap_or(Answer::Yes);
        let number = self.asked.len();
        self.called.notify_one();
        match answer {
            Answer::Yes => {}
            Answer::Slowly(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            Answer::Retry => return Err(Failure::Retry("told to".to_owned())),
            Answer::Reject => return Err(reject("the card is void")),
            Answer::Never => std::future::pending().await,
            Answer::Panic => panic!("told to"),
        }
        Ok(format!("charge {number}"))
    }

    /// How often it was asked, and whether always for the same, with the same key.
    pub(super) fn asked(&self) -> (usize, usize) {
        let asked = self.asked.all();
        let different: BTreeSet<String> = asked.iter().map(|call| format!("{call:?}")).collect();
        (asked.len(), different.len())
    }
}

/// What an effect does first and last.
pub(super) type Step<T> = BoxFuture<'static, Result<T, Failure>>;

/// An effect whose claim and completion are given as functions.
#[derive(Clone)]
pub(super) struct Charging {
    pub(super) outside: Outside,
    pub(super) claim: fn(Placed, Context) -> Step<Option<Charge>>,
    pub(super) complete: fn(Charge, String, Context) -> Step<()>,
}

impl Effect for Charging {
    type Event = Placed;
    type Call = Charge;
    type Outcome = String;

    async fn claim(&self, placed: Placed, cx: Context) -> Result<Option<Charge>, Failure> {
        (self.claim)(placed, cx).await
    }

    async fn perform(&self, charge: Charge, key: String) -> Result<String, Failure> {
        self.outside.clone().charge(charge, key).await
    }

    async fn complete(&self, charge: Charge, outcome: String, cx: Context) -> Result<(), Failure> {
        (self.complete)(charge, outcome, cx).await
    }

    async fn abandon(&self, charge: Charge, cx: Context) -> Result<(), Failure> {
        cx.delete::<Count>(&charge.order);
        Ok(())
    }
}

/// Charges the price of the day for an order.
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

fn started() -> (World, Outside, Running) {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging(&outside));
    (world, outside, running)
}

fn price(n: i64) -> Write {
    stored("price", n)
}

/// Somebody else's write of a count.
pub(super) fn stored(id: &str, n: i64) -> Write {
    let Ok(Value::Object(fields)) = serde_json::to_value(count(id, n)) else { panic!("an object") };
    let path = Path::new(SERVICE, Count::COLLECTION, id);
    Write { path, change: Change::Set(fields), only_if: Precondition::None }
}

/// One charge, by the first call, for the price at the first claim.
async fn charged_once(world: &World) {
    let counts = world.counts().await;
    assert_eq!((counts.get("claimed"), counts.get("charged")), (Some(&1), Some(&1)), "{counts:?}");
    assert_eq!(world.published.ids().len(), 1);
    let receipt = world.receipt().await;
    assert_eq!((&receipt["claim"], receipt["events"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn an_effect_is_two_commits() {
    let (world, outside, running) = started();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    // The one read is the handler's own.
    assert_eq!(world.store.calls(), (2, 1));
    assert_eq!(world.counts().await, are(&[("claimed", 1), ("charged", 1), ("charge 1", 100)]));
    assert_eq!(outside.asked.all()[0].1, Charge { order: "a".to_owned(), amount: 100 });
    assert_eq!(outside.asked.all()[0].0.len(), 32);
    charged_once(&world).await;

    assert_eq!(running.push(&Pushed::order("a").again("another")).await, 204);
    charged_once(&world).await;
    assert_eq!((outside.asked(), world.published.len()), ((1, 1), 2));

    assert_eq!(running.push(&Pushed::order("b")).await, 204);
    assert_eq!(outside.asked(), (2, 2));
    let keys: Vec<String> = outside.asked.all().into_iter().map(|(key, _)| key).collect();
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_is_one_commit() {
    let (world, outside, running) = started();
    for _ in 0..2 {
        assert_eq!(running.push(&Pushed::order("free")).await, 204);
    }
    assert_eq!((outside.asked(), world.published.ids().len()), ((0, 0), 1));
    assert_eq!(world.store.calls(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn duplicates_wait_and_share_the_outcome() {
    for takes in [0, 10, 1_000, 7_900] {
        let (world, outside, running) = started();
        outside.next(&[Answer::Slowly(takes)]);
        let pushes = at_once(50, |n| {
            let (running, message) = (running.clone(), Pushed::order("a").again(&n.to_string()));
            async move { running.push(&message).await }.boxed()
        });
        assert_eq!(pushes.await, [204; 50], "{takes}");
        assert_eq!(outside.asked(), (1, 1), "{takes}");
        charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_performed_again_with_the_same_key_and_call() {
    let (world, outside, running) = started();
    outside.next(&[Answer::Retry, Answer::Retry]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    // What the claim was based on has changed, but what was asked may have been done.
    world.store.inner.commit(&[price(999)]).await.expect("a commit");
    let began = tokio::time::Instant::now();
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert!(began.elapsed() < Duration::from_secs(1), "the claim was not released");
    assert_eq!(outside.asked(), (3, 1));
    charged_once(&world).await;
    assert_eq!(world.counts().await["charge 3"], 100);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_lost_costs_the_lease() {
    let (world, outside, running) = started();
    outside.next(&[Answer::Retry]);
    world.store.next([Fault::None, Fault::Lost]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(running.push(&Pushed::order("a")).await, 503, "it waits 12 of 20 seconds");
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (2, 1));
    charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_effect_is_a_dead_letter() {
    let (world, outside, running) = started();
    outside.next(&[Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let letter = world.published.only();
    assert_eq!(letter.topic, "test-service-dead-letter");
    assert_eq!(letter.attributes[attribute::DEAD_LETTER_REASON], "the card is void");
    assert_eq!(letter.attributes["ce-id"], "a");
    assert_eq!(letter.data, Pushed::order("a").data);
    assert_eq!(world.counts().await, are(&[("claimed", 1)]));
}

/// Until the outside has been asked `n` times in all.
async fn until_asked(outside: &Outside, n: usize) {
    while outside.asked.len() < n {
        outside.called.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_call_is_taken_over() {
    let (world, outside, running) = started();
    world.store.next([Fault::AnswerHangs]);
    let crashed = tokio::spawn({
        let running = running.clone();
        async move { running.push(&Pushed::order("a")).await }
    });
    while world.documents("receipts").await.is_empty() {
        tokio::task::yield_now().await;
    }
    crashed.abort();
    world.store.inner.commit(&[price(999)]).await.expect("a commit");
    let began = tokio::time::Instant::now();
    assert_eq!(running.push(&Pushed::order("a")).await, 503, "the lease still runs");
    assert_eq!(outside.asked(), (0, 0));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert!((20..22).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(outside.asked(), (1, 1));
    charged_once(&world).await;
    assert_eq!(world.counts().await["charge 1"], 100, "the price at the claim");
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_call_is_taken_over_with_the_same_key_and_call() {
    for crash in [Answer::Never, Answer::Panic] {
        let (world, outside, running) = started();
        outside.next(&[crash]);
        let crashed = tokio::spawn({
            let running = running.clone();
            async move { running.push(&Pushed::order("a")).await }
        });
        until_asked(&outside, 1).await;
        crashed.abort();
        world.store.inner.commit(&[price(999)]).await.expect("a commit");
        tokio::time::advance(Duration::from_secs(12)).await;
        // Fifty of them share one takeover.
        let pushes = at_once(50, |n| {
            let (running, message) = (running.clone(), Pushed::order("a").again(&n.to_string()));
            async move { running.push(&message).await }.boxed()
        });
        assert_eq!(pushes.await, [204; 50], "{crash:?}");
        assert_eq!(outside.asked(), (2, 1), "{crash:?}");
        charged_once(&world).await;
        assert_eq!(world.counts().await["charge 2"], 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_return_is_given_up_before_its_lease_ends() {
    let (world, outside, running) = started();
    outside.next(&[Answer::Never]);
    let began = tokio::time::Instant::now();
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(began.elapsed().as_secs(), 9);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(began.elapsed().as_secs(), 20);
    assert_eq!(outside.asked(), (2, 1));
    charged_once(&world).await;
}

/// A process that was cut off from the store while its lease ran out, and whose commit is applied
/// when another one holds the claim, or has completed.
#[tokio::test(start_paused = true)]
async fn a_commit_that_comes_too_late_can_neither_complete_nor_undo() {
    for (stale_answer, successor_takes_seconds) in
        [(Answer::Yes, 0), (Answer::Yes, 7), (Answer::Retry, 0), (Answer::Retry, 7)]
    {
        let case = format!("{stale_answer:?}, {successor_takes_seconds}");
        let (cut_off, outside, running) = started();
        outside.next(&[stale_answer, Answer::Slowly(successor_takes_seconds * 1000)]);
        // The claim goes through. What follows comes after the takeover.
        cut_off.store.next([Fault::None]);
        cut_off.store.all(Fault::Late(Duration::from_secs(25)));
        let stale = tokio::spawn(async move { running.push(&Pushed::order("a")).await });
        tokio::time::sleep(Duration::from_secs(20)).await;
        let world = cut_off.seen_by_another();
        let running = world.run(charging(&outside));
        let push = |message: &'static str| {
            let running = running.clone();
            tokio::spawn(async move { running.push(&Pushed::order("a").again(message)).await })
        };
        let successor = push("successor");
        until_asked(&outside, 2).await;
        // A third one waits for the successor.
        assert_eq!(push("third").await.expect("a status"), 204, "{case}");
        assert_eq!(successor.await.expect("a status"), 204, "{case}");
        assert_eq!(stale.await.expect("a status"), 503, "{case}");
        let before = world.receipt().await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.receipt().await, before, "{case}: the stale one changed the receipt");
        assert_eq!(outside.asked(), (2, 1), "{case}");
        charged_once(&world).await;
        assert_eq!(world.counts().await["charge 2"], 100, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_recorded_is_kept() {
    let (world, outside) = (World::new(), Outside::default());
    // The document of the completion cannot be stored, whenever it comes.
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
    assert_eq!(outside.asked(), (1, 1));
    let letters = world.published.messages();
    assert!(letters.iter().all(|letter| letter.topic == "test-service-dead-letter"));
    let reason = &letters[0].attributes[attribute::DEAD_LETTER_REASON];
    assert!(reason.contains("a document in counts: its id is longer than 1500 bytes"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_fails_for_a_day_is_repeated_without_a_second_call() {
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
        world.store.inner.commit(&[stored("mended", 1)]).await.expect("a commit");
        assert_eq!(running.push(&Pushed::order(failure)).await, 204);
        assert_eq!(outside.asked(), (1, 1), "{failure}");
        assert_eq!(world.published.ids().len(), 1, "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_does_not_cut_the_call_off() {
    let (world, outside, running) = started();
    outside.next(&[Answer::Slowly(3_000)]);
    let push = tokio::spawn({
        let running = running.clone();
        async move { running.push(&Pushed::order("a")).await }
    });
    until_asked(&outside, 1).await;
    push.abort();
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (1, 1));
    charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_leaves_time_for_the_call_and_its_completion() {
    let (world, outside, running) = started();
    outside.next(&[Answer::Never, Answer::Slowly(7_900)]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    // It arrives 11 seconds before the lease ends, waits, and still has 8 seconds for the call.
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (2, 1));
    charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_took_too_long_is_not_performed() {
    let (world, outside, running) = started();
    world.store.next([Fault::Slow(Duration::from_secs(7))]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(outside.asked(), (0, 0));
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (1, 1));
    charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_takes_no_claim_over() {
    for seconds in [10, 30, 3_600] {
        let (world, outside, running) = started();
        let ahead = world.ahead(Duration::from_secs(seconds)).run(charging(&outside));
        outside.next(&[Answer::Slowly(7_000)]);
        let first = tokio::spawn(async move { running.push(&Pushed::order("a")).await });
        until_asked(&outside, 1).await;
        assert_eq!(ahead.push(&Pushed::order("a")).await, 204, "{seconds}");
        assert_eq!(first.await.expect("a status"), 204, "{seconds}");
        assert_eq!(outside.asked(), (1, 1), "{seconds}");
        charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_deployments_never_share_an_idempotency_key() {
    let keys = futures::future::join_all((0..2).map(|_| async {
        let (_, outside, running) = started();
        assert_eq!(running.push(&Pushed::order("a")).await, 204);
        outside.asked.all()[0].0.clone()
    }));
    let keys = keys.await;
    assert_ne!(keys[0], keys[1], "one's charge would pay the order of the other");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_leaves_nothing_behind_so_that_a_replay_can_succeed() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(service().publishes::<Shipped>().effect(Charging {
        outside: outside.clone(),
        claim: |placed, cx| {
            let is_new = cx.create(&count(&placed.order, 0)).is_new();
            async move { Ok(is_new.then_some(Charge { order: placed.order, amount: 1 })) }.boxed()
        },
        complete: |charge, _, cx| {
            cx.put(&count(&charge.order, charge.amount));
            cx.publish(&Shipped { order: charge.order });
            async { Ok(()) }.boxed()
        },
    }));
    outside.next(&[Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(world.published.only().topic, "test-service-dead-letter");
    assert_eq!(world.counts().await, are(&[]));
    // The letter comes again with its attributes, or a person publishes only its data.
    let replay = Pushed { attributes: [].into(), ..Pushed::order("a") };
    let data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    for replay in [Pushed { data, ..replay }, Pushed::order("a")] {
        assert_eq!(running.push(&replay).await, 204);
        assert_eq!(world.counts().await, are(&[("a", 1)]));
        assert_eq!(outside.asked.len(), 2, "the second replay is a repeat");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_do_not_perform_twice() {
    for (faults, first, calls) in [
        // The claim's.
        (vec![Fault::AnswerLost], 204, 1),
        (vec![Fault::Lost], 204, 1),
        (vec![Fault::Lost, Fault::AnswerLost], 204, 1),
        (vec![Fault::AnswerLost, Fault::Lost, Fault::Lost], 503, 1),
        (vec![Fault::Conflict], 204, 1),
        // The completion's.
        (vec![Fault::None, Fault::AnswerLost], 204, 1),
        (vec![Fault::None, Fault::Lost], 204, 1),
        (vec![Fault::None, Fault::AnswerLost, Fault::Lost, Fault::Lost], 503, 1),
        (vec![Fault::None, Fault::Conflict], 204, 1),
        // The outcome is kept before the delivery fails.
        (vec![Fault::None, Fault::Lost, Fault::Lost, Fault::Lost], 503, 1),
        (vec![Fault::None, Fault::Lost, Fault::Lost, Fault::Lost, Fault::Lost, Fault::AnswerLost], 503, 1),
    ] {
        let (world, outside, running) = started();
        world.store.next(faults.clone());
        assert_eq!(running.push(&Pushed::order("a")).await, first, "{faults:?}");
        // As Pub/Sub does: not before its back-off.
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(running.push(&Pushed::order("a")).await, 204, "{faults:?}");
        assert_eq!(outside.asked(), (calls, 1), "{faults:?}");
        charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_takeover_does_not_perform_twice() {
    for faults in [vec![Fault::None, Fault::AnswerLost], vec![Fault::None, Fault::Lost]] {
        let (world, outside, running) = started();
        outside.next(&[Answer::Never]);
        assert_eq!(running.push(&Pushed::order("a")).await, 503);
        tokio::time::advance(Duration::from_secs(10)).await;
        // The first commit is the attempt to claim, which finds the receipt.
        world.store.next(faults.clone());
        assert_eq!(running.push(&Pushed::order("a")).await, 204, "{faults:?}");
        assert_eq!(outside.asked(), (2, 1), "{faults:?}");
        charged_once(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_completed_effect_whose_relay_failed_is_only_relayed() {
    let (world, outside, running) = started();
    world.published.next(&[Refusal::Fails]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (1, 1));
    charged_once(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_repeat_whose_claim_trips_over_its_own_work_is_a_duplicate() {
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
    assert_eq!(outside.asked(), (2, 1));
    assert_eq!(world.published.only().attributes["ce-type"], "order.shipped");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_publishes_before_its_effect_is_a_mistake() {
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
async fn a_completion_that_loses_a_race_runs_again_without_a_second_call() {
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
    world.store.next([Fault::None, Fault::Outrun(vec![price(10)]), Fault::Outrun(vec![price(20)])]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (1, 1));
    assert_eq!(world.counts().await, are(&[("price", 21)]));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_without_another_holder_does_not_lose_the_outcome() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging(&outside));
    world.store.next([Fault::None, Fault::Lost, Fault::Lost, Fault::Lost, Fault::Conflict]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (1, 1), "an outcome was lost");
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_another_release_is_not_taken_for_done() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging(&outside));
    outside.next(&[Answer::Retry]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    let receipt = world.stored("receipts").await.remove(0);
    let mut fields = receipt.fields.clone();
    fields["claim"]["phase"] = Value::from("paused");
    let path = Path::new(SERVICE, "receipts", &receipt.id);
    let write = Write { path, change: Change::Set(fields), only_if: Precondition::None };
    world.store.inner.commit(&[write]).await.expect("a commit");
    tokio::time::advance(Duration::from_secs(30)).await;
    let status = running.push(&Pushed::order("a")).await;
    assert_eq!(status, 503, "acked, and nobody ever charges");
}
