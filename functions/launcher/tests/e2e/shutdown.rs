//! After SIGTERM, a process finishes the requests in flight and then ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, routing::post};
use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::{emulators::Message, harness::eventually, world::World};

#[tokio::test]
async fn sigterm_lets_a_push_in_flight_finish() {
    let stripe = SlowStripe::start().await;
    let world = World::plan("sigterm")
        .services(&["billing-service"])
        .variable("STRIPE_SECRET_KEY", "sk_test_12345")
        .variable("STRIPE_API_BASE", &stripe.url)
        .start()
        .await;
    let event = r#"{"event":"user.created","userId":"ann-1","email":"ann@example.com","name":"Ann"}"#;
    let envelope = Message::new(event).envelope("message-1");
    let push = tokio::spawn(world.post("billing-service", "/").json(&envelope).send());
    stripe.asked.notified().await;

    let process = world.release("billing-service");
    process.signal("TERM");
    let signalled = Instant::now();
    let address = world.url("billing-service").replace("http://", "");
    eventually("the process accepts no new connections", async || match TcpStream::connect(&address).await {
        Ok(_) => Err("it accepts one".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    stripe.answer.notify_one();
    let pushed = push.await.expect("no panic").expect("the push is answered");
    assert_eq!(pushed.status(), StatusCode::NO_CONTENT);
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(10), "it took {:?}", signalled.elapsed());
    let charges = world.firestore.documents("billing-service/charges").await;
    assert_eq!(charges[0]["status"], "paid");
}

/// Notifies `asked` of a request, and answers when `answer` is notified.
struct SlowStripe {
    url: String,
    asked: Arc<Notify>,
    answer: Arc<Notify>,
}

impl SlowStripe {
    async fn start() -> Self {
        let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let notify = (asked.clone(), answer.clone());
        let intent = move || async move {
            notify.0.notify_one();
            notify.1.notified().await;
            // The price of a signup
            Json(json!({ "id": "pi_1", "status": "succeeded", "amount": 1000, "currency": "usd" }))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = Router::new().route("/v1/payment_intents", post(intent));
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { url, asked, answer }
    }
}
