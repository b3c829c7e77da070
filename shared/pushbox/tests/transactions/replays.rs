//! Replays of dead letters.

use std::time::Duration;

use pushbox::wire::attribute;

use super::{Answer, Outside, charging_each_order_once};
use crate::suite::{Fault, Placed, Pushed, SERVICE, World, count, counts, request, service};

/// An order that a person publishes without attributes.
fn by_hand(message_id: &str) -> Pushed {
    let mut by_hand = Pushed::order("a").republished(message_id);
    by_hand.attributes.clear();
    by_hand.data = br#"{"order":"a","event":"order.placed"}"#.to_vec();
    by_hand
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_rejected_twice_keeps_its_key() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    world.store.next([Fault::None, Fault::Refused, Fault::None]);
    assert_eq!(running.push(&by_hand("1")).await, 204);
    let first = world.published.messages().pop().expect("a dead letter");
    // A replay before the release that fixes the cause.
    world.store.next([Fault::None, Fault::Refused]);
    let replay = Pushed { attributes: first.attributes.clone(), ..by_hand("2") };
    assert_eq!(running.push(&replay).await, 204);
    let second = world.published.messages().pop().expect("a dead letter");
    assert_eq!(world.published.len(), 2);
    // A replay after that release.
    let replay = Pushed { attributes: second.attributes.clone(), ..by_hand("3") };
    assert_eq!(running.push(&replay).await, 204);
    assert_eq!(world.counts().await, counts(&[("a", 1)]), "the charge was made but not recorded");
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_a_refused_call_makes_the_call_again() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    outside.next(&[Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let letter = world.published.only();
    let replay = Pushed { attributes: letter.attributes, ..Pushed::order("a").republished("2") };
    // The second delivery of the replay is a duplicate.
    for _ in 0..2 {
        assert_eq!(running.push(&replay).await, 204);
        assert_eq!(outside.call_counts(), (2, 2), "the second call is a new one");
        assert_eq!(world.counts().await, counts(&[("a", 1)]));
    }
    let letters =
        world.published.messages().iter().filter(|message| message.topic.ends_with("dead-letter")).count();
    assert_eq!(letters, 1, "the replay becomes no dead letter");
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_of_a_refused_replay_makes_no_call() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    outside.next(&[Answer::Reject, Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let letter = world.published.only();
    let replay = Pushed { attributes: letter.attributes, ..Pushed::order("a").republished("2") };
    for delivery in ["the first", "the second"] {
        assert_eq!(running.push(&replay).await, 204);
        assert_eq!(outside.call_counts().0, 2, "{delivery} delivery of the replay");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_makes_the_call_again_if_the_refusal_could_not_be_recorded() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    outside.next(&[Answer::Reject]);
    world.store.next([Fault::None, Fault::Refused]);
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let letter = world.published.only();
    let replay = Pushed { attributes: letter.attributes, ..Pushed::order("a").republished("2") };
    // The first delivery of the replay records the refusal, and the second one makes the call.
    assert_eq!(running.push(&replay).await, 503);
    assert_eq!(running.push(&replay).await, 204);
    assert_eq!(outside.call_counts(), (2, 2), "the second call is a new one");
    assert_eq!(world.counts().await, counts(&[("a", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_replay_uses_the_idempotency_key_of_an_attempt_that_may_have_charged() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    // The first call charges, and its answer is lost. Stripe rejects the second call with
    // idempotency_error, because the request differs.
    outside.next(&[Answer::Never, Answer::Reject]);
    assert_eq!(running.push(&Pushed::order("a")).await, 503);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    let letter = world.published.messages().pop().expect("a dead letter");
    assert_eq!(running.push(&Pushed::order("a")).await, 204);
    assert_eq!(outside.call_counts(), (2, 1), "a duplicate of a rejected message makes no call");
    let replay = Pushed { attributes: letter.attributes, ..Pushed::order("a").republished("2") };
    assert_eq!(running.push(&replay).await, 204);
    assert_eq!(outside.call_counts(), (3, 1), "another key would charge twice");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_keeps_the_attributes_that_a_replay_needs() {
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
async fn an_unwrapped_replay_has_the_key_of_the_original_message() {
    let world = World::new();
    let running = world.run(service().on(|_: Placed, cx: pushbox::Context| async move {
        cx.add(&count("orders", 1), &["n"]);
        Ok(())
    }));
    for (id, original) in [("1", ""), ("2", "1")] {
        let headers = [
            ("x-goog-pubsub-message-id", id),
            ("x-goog-pubsub-subscription-name", "projects/p/subscriptions/s"),
            (attribute::DEAD_LETTER_MESSAGE_ID, original),
        ];
        let body = r#"{"order":"a","event":"order.placed"}"#;
        assert_eq!(running.send(request(axum::http::Method::POST, "/", &headers, body)).await.status, 204);
    }
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_replay_concerns_only_the_service_that_it_names() {
    let world = World::new();
    let running = world.run(service().on(|_: Placed, cx: pushbox::Context| async move {
        cx.add(&count("orders", 1), &["n"]);
        Ok(())
    }));
    let junk = Pushed { data: b"nonsense".to_vec(), attributes: [].into(), ..Pushed::order("a") };
    for (message, only, outcome) in [
        (Pushed::order("a"), "other-service", "ignored"),
        // Another service rejects nothing, whatever the message is.
        (junk.clone(), "other-service", "ignored"),
        (junk, SERVICE, "reject"),
        (Pushed::order("a"), SERVICE, "handled"),
    ] {
        let answer = running.send(message.with(attribute::REPLAY_ONLY, only).request()).await;
        assert_eq!((answer.status, answer.header("pushbox-outcome")), (204, Some(outcome)));
    }
    assert_eq!(world.counts().await, counts(&[("orders", 1)]));
    assert_eq!(world.published.only().topic, "test-service-dead-letter");
    // An unwrapped push has the attributes in headers.
    let headers = [("x-goog-pubsub-message-id", "7"), (attribute::REPLAY_ONLY, "other-service")];
    let answer = running.send(request(axum::http::Method::POST, "/", &headers, "nonsense")).await;
    assert_eq!(answer.header("pushbox-outcome"), Some("ignored"));
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_fails_again_is_recognised() {
    let world = World::new();
    let running =
        world.run(service().on(|_: Placed, _: pushbox::Context| async { Err(pushbox::reject("no")) }));
    let mut replay =
        Pushed::order("a").with(attribute::REPLAY_ID, "r-1").with(attribute::REPLAY_ATTEMPT, "2");
    replay.attributes.extend((0..94).map(|n| (format!("ce-a{n}"), "x".to_owned())));
    assert_eq!(running.push(&replay).await, 204);
    let letter = world.published.only().attributes;
    for (name, expected) in [
        (attribute::REPLAY_ID, "r-1"),
        (attribute::REPLAY_ATTEMPT, "2"),
        (attribute::DEAD_LETTER_CODE, "rejected"),
    ] {
        assert_eq!(letter[name], expected, "{name}");
    }
}
