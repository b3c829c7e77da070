//! Messages that can never succeed become dead letters with a reason, and delay no other message.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::StatusCode;
use serde_json::json;

use crate::{emulators::Message, harness::eventually, world::World};
use pushbox::wire::attribute;

/// One consumer runs in a transaction, the other performs an effect.
const CONSUMERS: [&str; 2] = ["crm-service", "billing-service"];

#[tokio::test]
async fn poison_becomes_a_dead_letter_and_the_next_message_is_handled() {
    let world = World::plan("poison").services(&["user-service", CONSUMERS[0], CONSUMERS[1]]).start().await;
    // The maximum of Pub/Sub, minus room for the rest of the request.
    let junk = vec![b'?'; 10_000_000 - 4096];
    let not_an_object = "the data is not a JSON object with a text field `event`";
    let published: [(&[u8], Option<&str>); 10] = [
        (b"{}", Some("neither the attribute ce-type nor the field `event` says what this is")),
        (br#"["user.created","u","u@example.com","U"]"#, Some(not_an_object)),
        (b"\x00\xff not JSON", Some(not_an_object)),
        (br#"{"event":"user.created","userId":"u","email":"cut@"#, Some(not_an_object)),
        (br#"{"event":"user.created","userId":"u","email":"u@example.com"}"#, Some("missing field `name`")),
        (br#"{"event":"user.created","userId":7,"email":"u@example.com","name":"U"}"#, Some("at /userId")),
        (br#"{"event":"user.created","userId":"u","email":"u","name":"U"}"#, Some("at /email")),
        (br#"{"event":["user.created"]}"#, Some(not_an_object)),
        (br#"{"event":"user.unheard-of"}"#, None),
        (&junk, Some(not_an_object)),
    ];
    for (data, _) in &published {
        world.pubsub.publish(&Message::new(data)).await;
    }
    // Pub/Sub itself sends only base64.
    let garbled = json!({ "message": { "data": "%%%", "messageId": "garbled" } });
    for service in CONSUMERS {
        let answer = world.post(service, "/").json(&garbled).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let answer = world.post(service, "/").body("no envelope").send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }

    let began = Instant::now();
    let user = world.sign_up("ann@example.com", "Ann").await;
    world.each_is_handled_once(&[user]).await;
    assert!(began.elapsed() < Duration::from_secs(10), "it was delayed for {:?}", began.elapsed());

    let mut expected: Vec<(String, &str)> = published
        .into_iter()
        .filter_map(|(data, reason)| Some((STANDARD.encode(data), reason?)))
        .chain([(STANDARD.encode("%%%"), "the data is not base64")])
        .collect();
    expected.sort_unstable();
    for service in CONSUMERS {
        let received = std::cell::RefCell::new(Vec::new());
        eventually(&format!("{service} has all dead letters"), async || {
            let letters = world.pubsub.dead_letters(service).await;
            received.borrow_mut().extend(letters);
            let count = received.borrow().len();
            if count >= expected.len() { Ok(()) } else { Err(format!("{count} so far")) }
        })
        .await;
        let mut received = received.into_inner();
        received.sort_unstable_by(|a, b| a.data.cmp(&b.data));
        assert_eq!(received.len(), expected.len(), "{service}");
        for (letter, (data, reason)) in received.iter().zip(&expected) {
            assert!(letter.data == *data, "the dead letter for {reason:?} has other data");
            assert!(
                letter.attributes[attribute::DEAD_LETTER_REASON].contains(reason),
                "{:?}",
                letter.attributes
            );
            assert_eq!(letter.attributes[attribute::DEAD_LETTER_SERVICE], service);
        }
        // Each one was delivered only once.
        world.delivered(service, "reject", expected.len()).await;
        world.delivered(service, "ignored", 1).await;
    }
}
