//! Services of the signup system, each alone.

#![allow(clippy::unwrap_used)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use effects::{
    mail::Mailer,
    payments::{Gateway, Money},
};
use pushbox::{
    Clock, Message, Ports, PushAuth, Random,
    publisher::{PublishError, Publisher},
    store::Memory,
};
use serde_json::{Value, json};
use signup::Config;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use tower::ServiceExt;

struct Nowhere;

#[async_trait]
impl Publisher for Nowhere {
    async fn publish(&self, _: Message) -> Result<String, PublishError> {
        Ok("1".to_owned())
    }
}

fn ports(store: &Arc<Memory>) -> Ports {
    Ports::new(store.clone(), Arc::new(Nowhere))
}

fn service(name: &str, mailer: Mailer, ports: Ports) -> Router {
    let config = Config {
        mailer,
        gateway: Gateway::local(ports.store.clone(), Clock::system()),
        price: Money { minor: 999, currency: "usd".parse().unwrap() },
        payment_method: "pm_card_visa".to_owned(),
    };
    let services = signup::system(config).services;
    let service = services.into_iter().find(|service| service.name() == name);
    service.unwrap().app(ports, PushAuth::None)
}

/// The status, the outcome of a push, and the body.
async fn send(app: &Router, request: Request<Body>) -> (u16, String, Value) {
    let answer = app.clone().oneshot(request).await.unwrap();
    let outcome = answer.headers().get("pushbox-outcome").map(|outcome| outcome.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, outcome.unwrap_or_default(), serde_json::from_slice(&body).unwrap_or_default())
}

/// A mail server that takes each mail and closes the connection without an answer. It counts the mails.
async fn silent_mail_server(listener: TcpListener, mails: Arc<AtomicUsize>) {
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = connection.split();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all(b"220 ready\r\n").await.unwrap();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == "DATA" {
                writer.write_all(b"354 go on\r\n").await.unwrap();
                while lines.next_line().await.unwrap().is_some_and(|line| line != ".") {}
                mails.fetch_add(1, SeqCst);
                break;
            }
            writer.write_all(b"250 OK\r\n").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_mail_without_an_answer_is_shown_as_unknown_and_not_sent_again() {
    let (listener, mails) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::<AtomicUsize>::default());
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    tokio::spawn(silent_mail_server(listener, mails.clone()));
    let mailer = Mailer::smtp(&url, "hello@shop.example").unwrap();
    let app = service("email-service", mailer, ports(&Arc::default()));
    for expected in ["handled", "duplicate"] {
        let push = Request::post("/")
            .header("ce-specversion", "1.0")
            .header("ce-type", "user.created")
            .header("ce-source", "//test")
            .header("ce-id", "1")
            .body(json!({ "userId": "u-1", "email": "ann@example.com", "name": "Ann" }).to_string().into());
        let (status, outcome, _) = send(&app, push.unwrap()).await;
        assert_eq!((status, &*outcome), (204, expected));
    }
    let (_, _, history) = send(&app, Request::get("/emails?userId=u-1").body(Body::empty()).unwrap()).await;
    assert_eq!(history["items"].as_array().unwrap().len(), 1, "{history}");
    assert_eq!(history["items"][0]["status"], "unknown", "{history}");
    assert_eq!(mails.load(SeqCst), 1);
}

#[tokio::test]
async fn a_new_user_never_replaces_another_one_with_the_same_id() {
    let store = Arc::default();
    // Two processes that draw the same numbers.
    let process = || {
        let mut ports = ports(&store);
        ports.random = Random::seeded(1);
        service("user-service", Mailer::local(store.clone(), Clock::system()), ports)
    };
    let sign_up = |key: &str, email: &str| {
        let body = json!({ "email": email, "name": "Ann" }).to_string().into();
        Request::post("/users").header("idempotency-key", key).body(body).unwrap()
    };
    let (status, _, ann) = send(&process(), sign_up("key-1", "ann@example.com")).await;
    assert_eq!(status, 201, "{ann}");
    let (status, _, answer) = send(&process(), sign_up("key-2", "bob@example.com")).await;
    assert_eq!(status, 503, "{answer}");
    let path = format!("/users/{}", ann["userId"].as_str().unwrap());
    let (_, _, user) = send(&process(), Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(user["email"], "ann@example.com");
}
