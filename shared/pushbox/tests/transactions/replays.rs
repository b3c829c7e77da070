//! Dead letters that are published again.

use std::time::Duration;

use futures::FutureExt;
use pushbox::Service;
use pushbox::wire::attribute;

use super::effects::{Answer, Charge, Charging, Outside};
use crate::suite::{Fault, Placed, Pushed, Shipped, World, are, count, request, service};

fn by_hand(id: &str) -> Pushed {
    let mut by_hand = Pushed::order("a").again(id);
    by_hand.attributes.clear();
    by_hand.data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    by_hand
}

/// Charges an order once, whatever event tells of it.
fn once(outside: &Outside) -> Service {
    service().publishes::<Shipped>().effect(Charging {
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
    })
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_parked_twice_keeps_its_identity() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(once(&outside));
    world.store.next([Fault::None, Fault::Refused, Fault::None]);
    assert_eq!(running.push(&by_hand("1")).await, 204);
    let first = world.published.messages().pop().expect("a letter");
    // Replayed before the release that mends it.
    world.store.next([Fault::None, Fault::Refused]);
    let replay = Pushed { attributes: first.attributes.clone(), ..by_hand("2") };
    assert_eq!(running.push(&replay).await, 204);
    let second = world.published.messages().pop().expect("a letter");
    assert_eq!(world.published.len(), 2);
    // Replayed after it.
    let replay = Pushed { attributes: second.attributes.clone(), ..by_hand("3") };
    assert_eq!(running.push(&replay).await, 204);
    assert_eq!(world.counts().await, are(&[("a", 1)]), "the charge was made, and nobody recorded it");
}

/// An earlier attempt whose answer was lost may have charged.
#[tokio::test(start_paused = true)]
async fn a_replay_has_the_key_of_an_attempt_that_may_have_charged() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(once(&outside));
    // The first charge goes through, and its answer is lost; the second request differs, and Stripe
    // answers idempotency_error.
    outside.next(&[Answer::Never, Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.asked(), (3, 1), "another key: charged twice");
}

#[tokio::test(start_paused = true)]
async fn a_letter_keeps_what_a_replay_needs() {
    let world = World::new();
    let running = world.run(service().on(|_: Placed, _: pushbox::Context| async move { Ok(()) }));
    let mut poison = Pushed { data: b"nonsense".to_vec(), ..Pushed::order("a") };
    poison.attributes.extend((0..94).map(|n| (format!("ce-a{n}"), "x".to_owned())));
    assert_eq!(poison.attributes.len(), 100);
    assert_eq!(running.push(&poison).await, 204);
    let letter = world.published.only();
    let kept: Vec<_> = ["ce-id", "ce-source", "ce-type"]
        .into_iter()
        .filter(|n| letter.attributes.contains_key(*n))
        .collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unwrapped_replay_is_the_message_that_it_was() {
    let world = World::new();
    let running = world.run(service().on(|_: Placed, cx: pushbox::Context| async move {
        cx.add(&count("orders", 1), &["n"]);
        Ok(())
    }));
    for (id, parked) in [("1", ""), ("2", "1")] {
        let headers = [
            ("x-goog-pubsub-message-id", id),
            ("x-goog-pubsub-subscription-name", "projects/p/subscriptions/s"),
            (attribute::DEAD_LETTER_MESSAGE_ID, parked),
        ];
        let body = r#"{"order":"a","event":"order.placed"}"#;
        assert_eq!(running.send(request(axum::http::Method::POST, "/", &headers, body)).await.status, 204);
    }
    assert_eq!(world.counts().await, are(&[("orders", 1)]));
}
