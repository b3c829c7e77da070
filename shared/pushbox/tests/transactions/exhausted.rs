//! Messages that a service fails on too often.

use std::time::Duration;

use pushbox::{Context, Failure, wire::attribute};

use super::{Answer, Outside, charging_each_order_once};
use crate::suite::{Placed, Pushed, Refusal, Running, Shipped, World, logs::Logs, push_request, service};

/// Pushes the message as its delivery with this number, and returns the status and the outcome.
async fn deliver(running: &Running, message: &Pushed, attempt: u32) -> (u16, String) {
    let mut envelope = message.envelope();
    envelope["deliveryAttempt"] = attempt.into();
    let answer = running.send(push_request(&envelope)).await;
    (answer.status, answer.header("pushbox-outcome").unwrap_or_default().to_owned())
}

fn outcome(status: u16, name: &str) -> (u16, String) {
    (status, name.to_owned())
}

fn failing() -> pushbox::Service {
    service().on(|_: Placed, _: Context| async { Err(Failure::Retry("the moon is full".to_owned())) })
}

#[tokio::test(start_paused = true)]
async fn shortly_before_the_last_delivery_the_runtime_moves_the_message_to_the_dead_letter_topic() {
    let world = World::new();
    let running = world.run(failing());
    let by_hand = Pushed {
        attributes: [].into(),
        data: br#"{"order":"a","event":"order.placed"}"#.to_vec(),
        ..Pushed::order("a")
    };
    assert_eq!(deliver(&running, &by_hand, 94).await, outcome(503, "retry"));
    assert_eq!(world.published.len(), 0);
    assert_eq!(deliver(&running, &by_hand, 95).await, outcome(204, "reject"));
    let letter = world.published.only();
    assert_eq!(letter.topic, "test-service-dead-letter");
    assert_eq!(letter.data, by_hand.data);
    for (name, expected) in [
        (attribute::DEAD_LETTER_CODE, "exhausted"),
        (attribute::DEAD_LETTER_REASON, "gave up after 95 deliveries: the moon is full"),
        (attribute::DEAD_LETTER_MESSAGE_ID, "message-of-a"),
        (attribute::DEAD_LETTER_SUBSCRIPTION, "projects/p/subscriptions/test-service-order-events"),
    ] {
        assert_eq!(letter.attributes[name], expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_handler_always_panics_moves_to_the_dead_letter_topic() {
    let world = World::new();
    let running = world.run(service().on(|_: Placed, _: Context| async { panic!("injected") }));
    assert_eq!(deliver(&running, &Pushed::order("a"), 94).await, outcome(500, "panic"));
    assert_eq!(deliver(&running, &Pushed::order("a"), 95).await, outcome(204, "reject"));
    assert!(
        world.published.only().attributes[attribute::DEAD_LETTER_REASON].ends_with("the handler panicked")
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_if_the_dead_letter_cannot_be_published() {
    let world = World::new();
    let running = world.run(failing());
    world.published.next(&[Refusal::Fails]);
    assert_eq!(deliver(&running, &Pushed::order("a"), 95).await, outcome(503, "retry"));
    assert_eq!(deliver(&running, &Pushed::order("a"), 96).await, outcome(204, "reject"));
    assert_eq!(world.published.len(), 1);
}

/// The event is handled, and only its own events wait.
#[tokio::test(start_paused = true)]
async fn a_handled_event_never_moves_to_the_dead_letter_topic() {
    let world = World::new();
    let running = world.run(service().publishes::<Shipped>().on(|placed: Placed, cx: Context| async move {
        cx.publish(&Shipped { order: placed.order });
        Ok(())
    }));
    for attempt in [95, 99, 100] {
        // The dead-letter topic would accept the message.
        world.published.next(&[Refusal::Fails]);
        assert_eq!(deliver(&running, &Pushed::order("a"), attempt).await, outcome(503, "retry"), "{attempt}");
        assert_eq!(world.published.len(), 0, "{attempt}");
    }
    assert_eq!(deliver(&running, &Pushed::order("a"), 101).await, outcome(204, "duplicate"));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_another_delivery_is_handling_does_not_move() {
    let (world, outside) = (World::new(), Outside::default());
    let running = world.run(charging_each_order_once(&outside));
    outside.next(&[Answer::Never]);
    let order = Pushed::order("a");
    // The first delivery holds the claim, and its call never ends. The other one waits for the outcome, in vain.
    let (first, other) = tokio::join!(deliver(&running, &order, 94), deliver(&running, &order, 95));
    assert_eq!((first, other), (outcome(503, "retry"), outcome(503, "retry")));
    assert_eq!(world.published.len(), 0, "the lease has not ended");
    tokio::time::advance(Duration::from_secs(30)).await;
    outside.next(&[Answer::Retry]);
    assert_eq!(deliver(&running, &order, 96).await, outcome(204, "reject"), "nobody holds the claim");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_receipt_delays_the_move_to_the_last_delivery() {
    let world = World::new();
    let running = world.run(failing());
    for (attempt, expected) in
        [(95, outcome(503, "retry")), (99, outcome(503, "retry")), (100, outcome(204, "reject"))]
    {
        world.store.fail_reads(true);
        assert_eq!(deliver(&running, &Pushed::order("a"), attempt).await, expected, "{attempt}");
    }
}

/// The dead letter's own publication hangs until the delivery's deadline.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_ends_at_its_deadline_is_moved_before_the_ack_deadline() {
    for (second, expected, letters) in
        [(Refusal::None, outcome(204, "reject"), 1), (Refusal::Hangs, outcome(503, "retry"), 0)]
    {
        let (world, logs) = (World::new(), Logs::collect());
        let running = world.run(
            service().on(|_: Placed, _: Context| async { Err(pushbox::reject("the order is unknown")) }),
        );
        world.published.next(&[Refusal::Hangs, second]);
        let began = tokio::time::Instant::now();
        assert_eq!(deliver(&running, &Pushed::order("a"), 95).await, expected, "{second:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "{second:?}: {:?}", began.elapsed());
        assert_eq!(world.published.len(), letters, "{second:?}");
        let stays = logs.of("WARN").iter().any(|line| line.contains("not moved to the dead-letter topic"));
        assert_eq!(stays, letters == 0, "{second:?}: {:?}", logs.of("WARN"));
    }
}
