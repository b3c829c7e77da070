//! Every event is delivered more than once and handled once.

use futures::future::join_all;
use reqwest::StatusCode;

use crate::{
    emulators::Message,
    harness::eventually,
    world::{CONSUMERS, User, World},
};

#[tokio::test]
async fn duplicates_change_nothing() {
    let world = World::start("duplicates").await;
    world.pubsub.keep_events().await;

    // A relay that did not get an answer publishes again: another message with the same event.
    let ann = world.sign_up("ann@example.com", "Ann").await;
    let mut event = published(&world).await;
    world.each_is_handled_once(std::slice::from_ref(&ann)).await;
    world.pubsub.publish(&event).await;
    for service in CONSUMERS {
        world.delivered(service, "duplicate", 1).await;
    }

    // Pub/Sub can deliver a message again that was acknowledged.
    let mut by_hand = |name: &str| {
        let user = User { id: format!("user-{name}"), email: format!("{name}@example.com") };
        event.attributes.insert("ce-id".to_owned(), format!("event-{name}"));
        let text = event.text().replace(&ann.id, &user.id).replace(&ann.email, &user.email);
        let event = Message { attributes: event.attributes.clone(), ..Message::new(text) };
        (user, event)
    };
    let (bob, bobs_event) = by_hand("bob");
    for _ in 0..2 {
        join_all(CONSUMERS.map(|service| push(&world, service, &bobs_event, "message-of-bob"))).await;
    }
    let (cy, cys_event) = by_hand("cy");
    let at_once = |service| (0..50).map(move |_| service);
    let pushes = CONSUMERS.into_iter().flat_map(at_once);
    join_all(pushes.map(|service| push(&world, service, &cys_event, "message-of-cy"))).await;

    world.each_is_handled_once(&[ann, bob, cy]).await;
    for service in CONSUMERS {
        world.delivered(service, "handled", 3).await;
        world.delivered(service, "duplicate", 51).await;
    }
}

/// The event on the topic `user-events`.
async fn published(world: &World) -> Message {
    eventually("the event is published", async || {
        world.pubsub.kept_events().await.pop().ok_or_else(|| "there is no message".to_owned())
    })
    .await
}

async fn push(world: &World, service: &str, message: &Message, message_id: &str) {
    let request = world.post(service, "/").json(&message.envelope(message_id));
    let status = request.send().await.expect("an answer").status();
    assert_eq!(status, StatusCode::NO_CONTENT, "{service}");
}
