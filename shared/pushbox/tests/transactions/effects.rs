//! Consumers that call the outside: claim, perform, complete.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use pushbox::{
    Context, Document, Failure, Path, Service, reject,
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
struct Charge {
    order: String,
    amount: i64,
}

/// How the outside answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Yes,
    Slowly(u64),
    Retry,
    Reject,
    Never,
    Panic,
    /// Once `go` says so.
    WhenTold,
    RetryWhenTold,
}

/// The outside world: what it was asked, with which key, and how it answers.
#[derive(Clone, Default)]
struct Outside {
    asked: Log<(String, Charge)>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    called: Arc<Notify>,
    go: Arc<Notify>,
}

impl Outside {
    fn next(&self, answers: &[Answer]) {
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
            Answer::WhenTold => self.go.notified().await,
            Answer::RetryWhenTold => {
                self.go.notified().await;
                return Err(Failure::Retry("told to".to_owned()));
            }
        }
        Ok(format!("charge {number}"))
    }

    /// How often it was asked, and whether always for the same, with the same key.
    fn asked(&self) -> (usize, usize) {
        let asked = self.asked.all();
        let different: BTreeSet<String> = asked.iter().map(|call| format!("{call:?}")).collect();
        (asked.len(), different.len())
    }
}

/// Charges the price of the day for an order.
fn charging(outside: &Outside) -> Service {
    let outside = outside.clone();
    service().publishes::<Shipped>().effect(
        |placed: Placed, cx: Context| async move {
            if placed.order == "free" {
                cx.publish(&Shipped { order: placed.order });
                return Ok(None);
            }
            let amount = cx.get::<Count>("price").await?.map_or(100, |price| price.n);
            cx.add(&count("claimed", 1), &["n"]);
            Ok(Some(Charge { order: placed.order, amount }))
        },
        move |charge: Charge, key| outside.clone().charge(charge, key),
        |charge: Charge, outcome: String, cx: Context| async move {
            cx.add(&count("charged", 1), &["n"]);
            cx.add(&count(&outcome, charge.amount), &["n"]);
            cx.publish(&Shipped { order: charge.order });
            Ok(())
        },
    )
}

fn started() -> (World, Outside, Running) {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging(&outside));
    (world, outside, running)
}

fn price(n: i64) -> Write {
    let Ok(Value::Object(fields)) = serde_json::to_value(count("price", n)) else { panic!("an object") };
    let path = Path::new(SERVICE, Count::COLLECTION, "price");
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
    assert_eq!(outside.asked.all()[0].0.len(), 40);
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
    for takes in [0, 10, 1_000, 14_000] {
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
    assert_eq!(running.push(&Pushed::order("a")).await, 503, "it waits 15 of 20 seconds");
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
    assert_eq!(letter.attributes["dead-letter-reason"], "the card is void");
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
    assert_eq!(began.elapsed().as_secs(), 15);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(began.elapsed().as_secs(), 20);
    assert_eq!(outside.asked(), (2, 1));
    charged_once(&world).await;
}

/// A process that stood still while its lease ran out, as an instance without CPU does: its future
/// is not polled, so that its own deadline does not end it.
#[tokio::test(start_paused = true)]
async fn a_stale_attempt_can_neither_complete_nor_undo() {
    for (stale_answer, successor_is_done) in [
        (Answer::WhenTold, true),
        (Answer::WhenTold, false),
        (Answer::RetryWhenTold, true),
        (Answer::RetryWhenTold, false),
    ] {
        let case = format!("{stale_answer:?}, {successor_is_done}");
        let (world, outside, running) = started();
        world.store.in_one_go();
        outside.next(&[stale_answer, if successor_is_done { Answer::Yes } else { Answer::Slowly(3_000) }]);
        let message = Pushed::order("a");
        let mut stale = Box::pin(running.push(&message));
        assert!(futures::poll!(&mut stale).is_pending());
        assert_eq!(outside.asked(), (1, 1));

        tokio::time::advance(Duration::from_secs(21)).await;
        let successor = tokio::spawn({
            let running = running.clone();
            async move { running.push(&Pushed::order("a").again("successor")).await }
        });
        until_asked(&outside, 2).await;
        if successor_is_done {
            while world.published.messages().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        let before = world.receipt().await;
        assert_eq!(before["claim"].is_null(), successor_is_done, "{case}");

        outside.go.notify_one();
        let status = stale.await;
        let shares = successor_is_done && matches!(stale_answer, Answer::WhenTold);
        assert_eq!(status, if shares { 204 } else { 503 }, "{case}");
        assert_eq!(world.receipt().await, before, "{case}: the stale one changed the receipt");
        if !successor_is_done {
            // A third one still waits for the successor.
            assert_eq!(running.push(&Pushed::order("a").again("third")).await, 204, "{case}");
        }
        assert_eq!(successor.await.expect("a status"), 204, "{case}");
        assert_eq!(outside.asked(), (2, 1), "{case}");
        charged_once(&world).await;
        assert_eq!(world.counts().await["charge 2"], 100, "{case}");
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
        // It was performed, but that is written nowhere.
        (vec![Fault::None, Fault::Lost, Fault::Lost, Fault::Lost], 503, 2),
        (vec![Fault::None, Fault::Refused], 503, 2),
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
    let asked = outside.clone();
    let running = world.run(service().publishes::<Shipped>().effect(
        |placed: Placed, cx: Context| async move {
            if cx.get::<Count>(&placed.order).await?.is_some() {
                return Err(reject("charged already"));
            }
            cx.put(&count(&placed.order, 1));
            Ok(Some(Charge { order: placed.order, amount: 1 }))
        },
        move |charge: Charge, key| asked.clone().charge(charge, key),
        |charge: Charge, _: String, cx: Context| async move {
            cx.publish(&Shipped { order: charge.order });
            Ok(())
        },
    ));
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
    let running = world.run(service().publishes::<Shipped>().effect(
        |placed: Placed, cx: Context| async move {
            cx.publish(&Shipped { order: placed.order.clone() });
            Ok(Some(placed.order))
        },
        |_: String, _| async { Ok(()) },
        |_: String, (): (), _| async { Ok(()) },
    ));
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    assert!(world.documents("receipts").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_loses_a_race_runs_again_without_a_second_call() {
    let (world, outside) = (World::new(), Outside::default());
    let asked = outside.clone();
    let running = world.run(service().effect(
        |placed: Placed, _: Context| async move { Ok(Some(Charge { order: placed.order, amount: 1 })) },
        move |charge: Charge, key| asked.clone().charge(charge, key),
        |_: Charge, _: String, cx: Context| async move {
            let n = cx.get::<Count>("price").await?.map_or(0, |price| price.n);
            cx.put(&count("price", n + 1));
            Ok(())
        },
    ));
    world.store.next([Fault::None, Fault::Outrun(vec![price(10)]), Fault::Outrun(vec![price(20)])]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (1, 1));
    assert_eq!(world.counts().await, are(&[("price", 21)]));
}
