//! Runs a service and sends requests to it.

mod faulty;
pub mod logs;
mod recorder;
mod timers;

pub use faulty::*;
pub use recorder::*;
pub use timers::*;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use jiff::Timestamp;
use pushbox::{
    AccessTokens, Clock, Event, Ports, PushAuth, Service,
    store::{Query, Store, Stored},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The name of the service under test.
pub const SERVICE: &str = "test-service";

/// The event that the services under test handle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    pub order: String,
    #[serde(default)]
    pub quantity: u32,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const TOPIC: &'static str = "order-events";
}

/// The event that they publish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shipped {
    pub order: String,
}

impl Event for Shipped {
    const TYPE: &'static str = "order.shipped";
    const TOPIC: &'static str = "order-events";
}

/// The document that they store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub id: String,
    pub n: i64,
}

impl pushbox::Document for Count {
    const COLLECTION: &'static str = "counts";
    fn id(&self) -> String {
        self.id.clone()
    }
}

/// A count with this id and value.
pub fn count(id: &str, n: i64) -> Count {
    Count { id: id.to_owned(), n }
}

/// A service without handlers and routes.
pub fn service() -> Service {
    Service::new(SERVICE, "is under test")
}

/// The environment of a service: its store, its publisher and its clock.
#[derive(Clone)]
pub struct World {
    pub store: Arc<Faulty>,
    pub published: Arc<Recorder>,
    pub timers: Arc<RecordedTimers>,
    pub background: TaskTracker,
    access_tokens: AccessTokens,
    clock: Clock,
}

impl World {
    /// A world with a store in memory and tokio's clock.
    pub fn new() -> Self {
        let clock = clock();
        Self { clock: clock.clone(), ..Self::on(Arc::new(pushbox::store::Memory::new(clock))) }
    }

    /// A world with this store.
    pub fn on(store: Arc<dyn Store>) -> Self {
        Self {
            store: Arc::new(Faulty::new(store)),
            published: Arc::default(),
            timers: Arc::default(),
            background: TaskTracker::new(),
            access_tokens: AccessTokens::none(),
            clock: clock(),
        }
    }

    /// The same documents, for a process whose connection to the store has no faults.
    pub fn without_faults(&self) -> Self {
        Self { clock: self.clock.clone(), ..Self::on(self.store.inner.clone()) }
    }

    /// The same world, for a process whose clock is fast by `ahead`.
    pub fn with_clock_ahead(&self, ahead: Duration) -> Self {
        let clock = Clock::following_tokio(start().saturating_add(ahead).expect("a time"));
        Self { clock, ..self.clone() }
    }

    /// The same world, with services that accept these access tokens.
    pub fn with_access_tokens(self, access_tokens: AccessTokens) -> Self {
        Self { access_tokens, ..self }
    }

    /// Runs the service in this world, without a check of push tokens.
    pub fn run(&self, service: Service) -> Running {
        self.run_guarded(service, PushAuth::None)
    }

    pub fn run_guarded(&self, service: Service, auth: PushAuth) -> Running {
        let mut ports = self.ports();
        ports.timers = Some(self.timers.clone());
        Running { app: service.app(ports, auth) }
    }

    pub fn run_without_timers(&self, service: Service) -> Running {
        Running { app: service.app(self.ports(), PushAuth::None) }
    }

    fn ports(&self) -> Ports {
        let mut ports = Ports::new(self.store.clone(), self.published.clone());
        ports.clock = self.clock.clone();
        ports.background = self.background.clone();
        ports.access_tokens = self.access_tokens.clone();
        ports
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits until all background work is done.
    pub async fn settle(&self) {
        self.background.close();
        self.background.wait().await;
        self.background.reopen();
    }

    /// The documents of one of the service's collections. This does not count as a read.
    pub async fn documents(&self, collection: &str) -> Vec<Value> {
        self.stored(collection).await.into_iter().map(|stored| Value::Object(stored.fields)).collect()
    }

    pub async fn stored(&self, collection: &str) -> Vec<Stored> {
        let collection = format!("services/{SERVICE}/{collection}");
        let query = Query { collection, limit: 1000, ..Query::default() };
        self.store.inner.list(&query).await.expect("a list")
    }

    /// The only receipt.
    pub async fn receipt(&self) -> Value {
        let mut receipts = self.documents("receipts").await;
        assert_eq!(receipts.len(), 1, "{receipts:?}");
        receipts.remove(0)
    }

    /// The values of the counts, by id.
    pub async fn counts(&self) -> BTreeMap<String, i64> {
        let counts = self.documents("counts").await.into_iter();
        counts
            .map(|count| serde_json::from_value(count).expect("a count"))
            .map(|Count { id, n }| (id, n))
            .collect()
    }
}

fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

fn clock() -> Clock {
    Clock::following_tokio(start())
}

/// The expected values of the counts, by id.
pub fn counts(expected: &[(&str, i64)]) -> BTreeMap<String, i64> {
    expected.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect()
}

/// A service's routes.
#[derive(Clone)]
pub struct Running {
    pub app: Router,
}

impl Running {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.expect("a router cannot fail");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Pushes `message` and returns the status of the answer.
    pub async fn push(&self, message: &Pushed) -> u16 {
        self.send(message.request()).await.status
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send(request(Method::POST, path, headers, body.to_string())).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[], "")).await
    }
}

/// An HTTP response with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null if the body is not JSON.
    pub body: Value,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Checks that this is a problem document. Its `status` member and the HTTP status must be `status`.
    #[track_caller]
    pub fn assert_problem(&self, status: u16) {
        let seen = (self.status, self.header("content-type"), self.body["status"].as_u64());
        assert_eq!(seen, (status, Some("application/problem+json"), Some(status.into())), "{self:?}");
        let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        assert_eq!(self.body["title"].as_str(), title, "{self:?}");
        assert_eq!(self.body["type"], "about:blank", "{self:?}");
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
    }
}

pub fn request(method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.into()).expect("a request")
}

/// A message that Pub/Sub pushes.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub message_id: String,
    pub attributes: BTreeMap<String, String>,
    pub data: Vec<u8>,
}

impl Pushed {
    /// An event with the attributes that the runtime gives it.
    pub fn event<E: Event>(id: &str, event: &E) -> Self {
        let attributes = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "//pushbox/other-service"),
            ("ce-type", E::TYPE),
            ("ce-time", "2026-11-20T11:59:00Z"),
            ("content-type", "application/json"),
        ];
        Self {
            message_id: format!("message-of-{id}"),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            data: serde_json::to_vec(event).expect("JSON"),
        }
    }

    /// An `order.placed` event for the order with this id.
    pub fn order(id: &str) -> Self {
        Self::event(id, &Placed { order: id.to_owned(), quantity: 1 })
    }

    /// The same message, published again: Pub/Sub gives it a new id.
    pub fn republished(&self, message_id: &str) -> Self {
        Self { message_id: message_id.to_owned(), ..self.clone() }
    }

    pub fn with(mut self, attribute: &str, value: &str) -> Self {
        self.attributes.insert(attribute.to_owned(), value.to_owned());
        self
    }

    pub fn envelope(&self) -> Value {
        json!({
            "message": {
                "data": STANDARD.encode(&self.data),
                "attributes": self.attributes,
                "messageId": self.message_id,
                "message_id": self.message_id,
                "publishTime": "2026-11-20T11:59:30.123Z",
                "publish_time": "2026-11-20T11:59:30.123Z",
            },
            "subscription": "projects/p/subscriptions/test-service-order-events",
            "deliveryAttempt": 1,
        })
    }

    pub fn request(&self) -> Request<Body> {
        push_request(&self.envelope())
    }
}

/// A push with this envelope.
pub fn push_request(envelope: &Value) -> Request<Body> {
    request(Method::POST, "/", &[("content-type", "application/json")], envelope.to_string())
}

/// Runs `n` futures concurrently and returns their results in order.
pub async fn concurrently<T>(n: usize, one: impl Fn(usize) -> BoxFuture<'static, T>) -> Vec<T> {
    futures::future::join_all((0..n).map(one)).await
}

/// A list to which handlers and calls add an entry each time they run.
#[derive(Clone)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    pub fn push(&self, entry: T) {
        self.0.lock().expect("a lock").push(entry);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().expect("a lock").clone()
    }

    pub fn len(&self) -> usize {
        self.all().len()
    }
}
