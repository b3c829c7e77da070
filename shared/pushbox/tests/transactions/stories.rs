//! The place of events in their story, and the story as the receipts tell it.

use pushbox::{
    Command, Context, Message, Problem, Reply, Service,
    store::Store,
    story::{self, Handling, Progress},
    wire::attribute::{CAUSATION_ID, CORRELATION_ID, ID},
};
use serde_json::{Value, json};

use crate::suite::{Placed, Pushed, SERVICE, Shipped, World, request, service};

const SUBSCRIPTION: &str = "projects/p/subscriptions/test-service-order-events";

/// Ships each order, by event or by command.
fn shipping() -> Service {
    async fn ship(command: Command<Value>) -> Result<Reply, Problem> {
        let publish = |(), cx: Context| async move {
            cx.publish(&Shipped { order: "a".to_owned() });
            Ok(Reply::accepted(&json!({})))
        };
        command.run((), publish).await
    }
    let on = |placed: Placed, cx: Context| async move {
        cx.publish(&Shipped { order: placed.order });
        Ok(())
    };
    service().publishes::<Shipped>().on(on).post("/shipments", ship)
}

fn ids(message: &Message) -> (&str, &str) {
    (&message.attributes[CAUSATION_ID], &message.attributes[CORRELATION_ID])
}

#[tokio::test]
async fn an_event_names_its_cause_and_the_beginning_of_its_story() {
    let long = "x".repeat(1025);
    let by_hand = Pushed { attributes: [].into(), ..Pushed::order("a") };
    let by_hand = by_hand.with("ce-type", "order.placed");
    for (message, cause, root) in [
        (Pushed::order("a"), "a", "a"),
        (Pushed::order("a").with(CORRELATION_ID, "first"), "a", "first"),
        (Pushed::order("a").with(CORRELATION_ID, "first").with(CAUSATION_ID, "before"), "a", "first"),
        (Pushed::order("a").with(CORRELATION_ID, ""), "a", "a"),
        (Pushed::order("a").with(CORRELATION_ID, &long), "a", "a"),
        (Pushed::order("a").with(ID, &long), "message-of-a", "message-of-a"),
        (by_hand, "message-of-a", "message-of-a"),
    ] {
        let world = World::new();
        assert_eq!(world.run(shipping()).push(&message).await, 204);
        assert_eq!(ids(&world.published.only()), (cause, root), "{message:?}");
    }
}

#[tokio::test]
async fn a_structured_event_continues_its_story() {
    let world = World::new();
    let event = json!({
        "specversion": "1.0", "id": "a", "source": "//other", "type": "order.placed", "correlationid": "first",
        "data": { "order": "a" },
    });
    let headers = [("content-type", "application/cloudevents+json")];
    let push = request(axum::http::Method::POST, "/", &headers, event.to_string());
    assert_eq!(world.run(shipping()).send(push).await.status, 204);
    assert_eq!(ids(&world.published.only()), ("a", "first"));
}

#[tokio::test]
async fn a_story_leads_from_the_command_to_what_each_event_has_caused() {
    let world = World::new();
    let running = world.run(shipping());
    let key = [("idempotency-key", "one")];
    assert_eq!(running.post("/shipments", &key, &json!({})).await.status, 202);
    let published = world.published.only();
    let (cause, root) = ids(&published);
    assert_eq!(cause, root);

    let store: &dyn Store = &*world.store.inner;
    let told = story::of_command(store, SERVICE, root).await.expect("a read");
    let Handling { key, progress, events, .. } = told.expect("the command");
    assert_eq!((&*key, progress), ("POST /shipments one", Progress::Done));
    assert_eq!(events.iter().map(|event| &event.message).collect::<Vec<_>>(), [&published]);

    for message in [Pushed::order("a"), Pushed { attributes: [].into(), ..Pushed::order("b") }] {
        let told = async || {
            let id = &message.message_id;
            story::of_message(store, SERVICE, SUBSCRIPTION, id, &message.attributes).await.expect("a read")
        };
        assert!(told().await.is_none(), "it is not handled yet");
        let with_type =
            Pushed { data: br#"{"order":"a","event":"order.placed"}"#.to_vec(), ..message.clone() };
        assert_eq!(running.push(&with_type).await, 204);
        let caused = told().await.expect("the handling").events;
        assert_eq!(caused.len(), 1);
        assert_eq!(caused[0].message.attributes["ce-type"], "order.shipped");
    }
    for id in ["", "nothing", "../receipts", &"0".repeat(40)] {
        assert!(story::of_command(store, SERVICE, id).await.expect("a read").is_none(), "{id}");
    }
}
