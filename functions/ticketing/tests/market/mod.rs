//! The services of tickets, orders and timers, without faults. A test delivers their events in the order that it
//! wants.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use effects::payments::Gateway;
use jiff::Timestamp;
use pushbox::{
    Clock, Message, Path, Ports, PushAuth, ServiceName,
    publisher::{PublishError, Publisher},
    store::{CommitError, Memory, Query, Store, StoreError, Stored, Version, Write},
    timers::{Timer, TimerError, Timers},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::people;

pub const TICKETS: &str = "ticket-service";
pub const ORDERS: &str = "ticket-order-service";
pub const PAYMENTS: &str = "ticket-payment-service";

/// What is published and not delivered yet, and the timers.
#[derive(Default)]
struct Post {
    waiting: Mutex<Vec<Message>>,
    timers: Mutex<Vec<Timer>>,
    heard: Mutex<Vec<Value>>,
}

#[async_trait]
impl Publisher for Post {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        // Nobody handles dead letters.
        if message.topic != "ticketing-events" {
            return Ok("1".to_owned());
        }
        let mut data: Value = serde_json::from_slice(&message.data).expect("JSON");
        data["event"] = message.attributes["ce-type"].clone().into();
        self.heard.lock().expect("a lock").push(data);
        self.waiting.lock().expect("a lock").push(message);
        Ok("1".to_owned())
    }
}

#[async_trait]
impl Timers for Post {
    async fn set(&self, timer: Timer) -> Result<(), TimerError> {
        self.timers.lock().expect("a lock").push(timer);
        Ok(())
    }

    async fn cancel(&self, _: ServiceName, id: &str) -> Result<(), TimerError> {
        self.timers.lock().expect("a lock").retain(|timer| timer.id != id);
        Ok(())
    }
}

/// What goes wrong with charges at the payment gateway.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// They are not made.
    NotMade,
    /// They are made, but the answers get lost.
    NoAnswer,
}

/// The store of the local payment gateway.
#[derive(Default)]
pub struct AtGateway {
    store: Memory,
    trouble: Mutex<Option<Trouble>>,
}

impl AtGateway {
    pub fn set(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().expect("a lock") = trouble;
    }
}

#[async_trait]
impl Store for AtGateway {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        self.store.get(path).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        let trouble = *self.trouble.lock().expect("a lock");
        let trouble =
            trouble.filter(|_| writes.iter().any(|write| write.path.collection().ends_with("/charges")));
        match trouble {
            Some(Trouble::NotMade) => Err(CommitError::Failed(StoreError("unreachable".to_owned()))),
            Some(Trouble::NoAnswer) => {
                self.store.commit(writes).await?;
                Err(CommitError::Unknown(StoreError("no answer".to_owned())))
            }
            None => self.store.commit(writes).await,
        }
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.store.list(query).await
    }
}

pub struct Market {
    pub gateway: Arc<AtGateway>,
    apps: BTreeMap<ServiceName, Router>,
    post: Arc<Post>,
    clock: Clock,
    messages: Mutex<u32>,
}

impl Market {
    /// Without payments: the test publishes the news of charges itself.
    pub fn new() -> Self {
        Self::without(&[PAYMENTS])
    }

    /// All services except these.
    pub fn without(left_out: &[ServiceName]) -> Self {
        Self::of(left_out, ticketing::TICKET_LOCK_MINUTES)
    }

    /// All services except these, with this time to pay an order.
    pub fn of(left_out: &[ServiceName], ticket_lock_minutes: u32) -> Self {
        let start: Timestamp = "2026-11-20T12:00:00Z".parse().expect("a time");
        let (clock, post) = (Clock::following_tokio(start), Arc::new(Post::default()));
        let store = Arc::new(Memory::new(clock.clone()));
        let ports = || {
            let mut ports = Ports::new(store.clone(), post.clone());
            (ports.clock, ports.access_tokens) = (clock.clone(), people::access_tokens());
            ports.timers = Some(post.clone());
            ports
        };
        let gateway = Arc::new(AtGateway::default());
        let mut system = ticketing::system(ticketing::Config {
            gateway: Gateway::local(gateway.clone(), clock.clone()),
            ..people::config(&ports(), ticket_lock_minutes)
        });
        system.services.retain(|service| !left_out.contains(&service.name()));
        let app = |service: pushbox::Service| (service.name(), service.app(ports(), PushAuth::None));
        let apps = system.services.into_iter().map(app).collect();
        Self { gateway, apps, post, clock, messages: Mutex::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The status and the body of the answer to a request.
    pub async fn send(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.body(Body::from(body)).expect("a request");
        let response =
            self.apps[service].clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub async fn call(
        &self,
        user: &str,
        service: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let bearer = format!("Bearer {}", people::token(user, self.now()));
        self.send(service, method, path, &[("authorization", &bearer)], &body).await
    }

    pub async fn get(&self, user: &str, service: &str, path: &str) -> Value {
        self.call(user, service, Method::GET, path, Value::Null).await.1
    }

    /// Offers a ticket for this price, and returns its id.
    pub async fn offer(&self, seller: &str, minor: u64) -> String {
        let body = json!({ "title": "Ghost, Friday", "price": price(minor) });
        let (status, ticket) = self.call(seller, TICKETS, Method::POST, "/tickets", body).await;
        assert_eq!((status, &ticket["state"], &ticket["version"]), (201, &json!("listed"), &json!(1)));
        text(&ticket["ticketId"])
    }

    /// Orders a ticket, and returns the status and the body of the answer.
    pub async fn order(&self, buyer: &str, ticket: &str, minor: u64) -> (u16, Value) {
        let body = json!({ "ticketId": ticket, "expectedPrice": price(minor) });
        self.call(buyer, ORDERS, Method::POST, "/orders", body).await
    }

    /// Orders a ticket for 4500, delivers all events, and returns the order's id.
    pub async fn buy(&self, buyer: &str, ticket: &str) -> String {
        let (status, order) = self.order(buyer, ticket, 4500).await;
        assert_eq!((status, &order["status"]), (202, &json!("pending")), "{order}");
        self.deliver().await;
        text(&order["orderId"])
    }

    pub async fn cancel(&self, buyer: &str, order: &str) -> (u16, Value) {
        self.call(buyer, ORDERS, Method::DELETE, &format!("/orders/{order}"), Value::Null).await
    }

    /// The status of an order, and the reason if there is one.
    pub async fn status(&self, buyer: &str, order: &str) -> String {
        let order = self.get(buyer, ORDERS, &format!("/orders/{order}")).await;
        [&order["status"], &order["reason"]].iter().filter_map(|it| it.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The state of a ticket.
    pub async fn state(&self, ticket: &str) -> String {
        text(&self.get("anybody", TICKETS, &format!("/tickets/{ticket}")).await["state"])
    }

    /// The ids of the listed tickets.
    pub async fn listed(&self) -> Vec<String> {
        let list = self.get("anybody", TICKETS, "/tickets").await;
        list["items"].as_array().expect("items").iter().map(|ticket| text(&ticket["ticketId"])).collect()
    }

    /// Publishes an event as another service does, and delivers all events.
    pub async fn tell(&self, event: Value) {
        self.push(&event).await;
        self.deliver().await;
    }

    pub async fn charge(&self, order: &str, ticket: &str, id: &str) {
        self.tell(charge(order, ticket, id)).await;
    }

    pub async fn refund(&self, order: &str, ticket: &str, charge: &str) {
        self.tell(refund(order, ticket, charge)).await;
    }

    /// Delivers all events, until there are none.
    pub async fn deliver(&self) {
        loop {
            let waiting = std::mem::take(&mut *self.post.waiting.lock().expect("a lock"));
            if waiting.is_empty() {
                return;
            }
            for message in waiting {
                let data: Value = serde_json::from_slice(&message.data).expect("JSON");
                self.push(&data).await;
            }
        }
    }

    /// Takes the events that are published and not delivered.
    pub fn intercept(&self) -> Vec<Value> {
        let waiting = std::mem::take(&mut *self.post.waiting.lock().expect("a lock"));
        waiting.iter().map(|message| serde_json::from_slice(&message.data).expect("JSON")).collect()
    }

    /// Pushes an event to each service. One that does not handle it answers 204, too.
    pub async fn push(&self, event: &Value) {
        let number = {
            let mut messages = self.messages.lock().expect("a lock");
            *messages += 1;
            *messages
        };
        for service in self.apps.keys() {
            let status = self.push_to(service, event, &number.to_string()).await;
            assert_eq!(status, 204, "{service} {event}");
        }
    }

    /// Pushes an event to one service, and returns the status of the answer. With the same message id it is a
    /// redelivery.
    pub async fn push_to(&self, service: &str, event: &Value, message_id: &str) -> u16 {
        let envelope = json!({
            "message": { "data": STANDARD.encode(event.to_string()), "messageId": message_id },
            "subscription": format!("projects/p/subscriptions/{service}-ticketing-events"),
        });
        let json = [("content-type", "application/json")];
        self.send(service, Method::POST, "/", &json, &envelope).await.0
    }

    /// Lets time pass without any timer.
    pub async fn wait(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    /// Fires the timers that are due, and delivers all events.
    pub async fn fire(&self) {
        let now = self.now();
        let due: Vec<Timer> =
            self.post.timers.lock().expect("a lock").extract_if(.., |it| it.at <= now).collect();
        self.post.waiting.lock().expect("a lock").extend(due.into_iter().map(|timer| timer.message));
        self.deliver().await;
    }

    /// The number of timers that wait.
    pub fn timers(&self) -> usize {
        self.post.timers.lock().expect("a lock").len()
    }

    /// The events of a type so far.
    pub fn heard(&self, event: &str) -> Vec<Value> {
        let heard = self.post.heard.lock().expect("a lock");
        heard.iter().filter(|data| data["event"] == event).cloned().collect()
    }
}

/// The news of a charge of 4500.
pub fn charge(order: &str, ticket: &str, charge: &str) -> Value {
    let event = "charge.created";
    json!({ "event": event, "orderId": order, "ticketId": ticket, "chargeId": charge, "amount": price(4500) })
}

/// The news of its refund.
pub fn refund(order: &str, ticket: &str, charge: &str) -> Value {
    let event = "charge.refunded";
    json!({ "event": event, "orderId": order, "ticketId": ticket, "chargeId": charge, "amount": price(4500) })
}

pub fn price(minor: u64) -> Value {
    json!({ "minor": minor, "currency": "eur" })
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
