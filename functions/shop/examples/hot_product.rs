//! Measures how many orders a second of one product order-service takes, and how many invoices a second
//! invoice-service writes, on the Firestore emulator:
//!
//! `scripts/emulators -- cargo run -p shop --example hot_product [SHARDS@RATE | invoices@RATE]...`
//!
//! `LATENCY_MS=20` delays each call to the store by 20 ms. With a database on another machine, more
//! time passes between a read and the commit, so more commits lose a race.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{Router, body::Body, http::Request};
use base64::{Engine, engine::general_purpose::STANDARD};
use effects::{mail::Mailer, payments::Gateway};
use pushbox::{
    Message, Path, Ports, PushAuth,
    publisher::{PublishError, Publisher},
    store::{CommitError, Firestore, Query, Store, StoreError, Stored, Version, Write},
};
use serde_json::{Value, json};
use tower::ServiceExt;

const DURATION: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() {
    assert!(env::var("FIRESTORE_EMULATOR_HOST").is_ok(), "run it with scripts/emulators -- …");
    let latency =
        Duration::from_millis(env::var("LATENCY_MS").map_or(0, |text| text.parse().expect("a number")));
    println!("With {latency:?} of added latency for each call to the store:\n");
    println!("| what | asked for | done | lost races | put off | p50 | p99 |\n|---|---|---|---|---|---|---|");
    let chosen: Vec<String> = env::args().skip(1).collect();
    let all = [
        "1@10",
        "1@25",
        "1@50",
        "1@100",
        "16@25",
        "16@100",
        "16@200",
        "invoices@10",
        "invoices@25",
        "invoices@50",
    ];
    let loads = if chosen.is_empty() { all.map(str::to_owned).into() } else { chosen };
    for load in loads {
        let (what, rate) = load.split_once('@').expect("such as 16@100");
        let rate = rate.parse().expect("a number a second");
        match what {
            "invoices" => invoices(rate, latency).await,
            shards => orders(shards.parse().expect("how many shards"), rate, latency).await,
        }
    }
}

/// Orders of one piece each, paid at once.
async fn orders(shards: u64, rate: u32, latency: Duration) {
    let bench = Bench::new(&format!("orders-{shards}-{rate}"), "order-service", shards, latency);
    let tea = json!({ "name": "Tea", "price": { "minor": 1, "currency": "eur" }, "stock": 1_000_000 });
    let put = Request::put("/products/tea").body(Body::from(tea.to_string())).expect("a request");
    assert!(bench.app.clone().oneshot(put).await.is_ok_and(|answer| answer.status().is_success()));
    let order = async |number: u32| {
        let lines = json!([{ "sku": "tea", "quantity": 1 }]);
        let created = event(number, json!({ "lines": lines, "paymentMethod": "pm_card_visa" }));
        let latency = bench.push("order.created", number, &created).await;
        bench.push("payment.succeeded", number, &paid(number)).await;
        latency
    };
    bench.load(&format!("orders, K={shards}"), rate, order).await;
}

async fn invoices(rate: u32, latency: Duration) {
    let bench = Bench::new(&format!("invoices-{rate}"), "invoice-service", 1, latency);
    let invoice = async |number: u32| bench.push("payment.succeeded", number, &paid(number)).await;
    bench.load("invoices", rate, invoice).await;
}

fn paid(number: u32) -> Value {
    event(number, json!({ "lines": [], "total": { "minor": 1, "currency": "eur" }, "chargeId": "bench" }))
}

fn event(number: u32, mut fields: Value) -> Value {
    fields["orderId"] = format!("order-{number}").into();
    fields["customerEmail"] = "ada@example.com".into();
    fields
}

struct Bench {
    app: Router,
    store: Arc<Counted>,
    put_off: AtomicU64,
}

impl Bench {
    fn new(name: &str, service: &str, stock_shards: u64, latency: Duration) -> Self {
        let project = format!("{name}-{}", std::process::id());
        let firestore = Firestore::new(&project, "(default)");
        let store = Arc::new(Counted { firestore, latency, lost: AtomicU64::new(0) });
        let ports = Ports::new(store.clone(), Arc::new(Nowhere));
        let mailer = Mailer::local(ports.store.clone(), ports.clock.clone());
        let gateway = Gateway::local(ports.store.clone(), ports.clock.clone());
        let system = shop::system(shop::Config { mailer, gateway, stock_shards });
        let service = system.services.into_iter().find(|found| found.name() == service).expect("a service");
        Self { app: service.app(ports, PushAuth::None), store, put_off: AtomicU64::new(0) }
    }

    /// Starts `rate` pieces of work a second, however long each takes, and prints the results.
    async fn load(&self, name: &str, rate: u32, work: impl AsyncFn(u32) -> Duration) {
        let count = rate * DURATION.as_secs() as u32;
        let began = Instant::now();
        // They start at random times, as real orders do: several at once, and then none for a while.
        let each = (0..count).map(|number| async move {
            tokio::time::sleep(DURATION.mul_f64(fastrand::f64())).await;
            number
        });
        let each = each.map(|number| async { work(number.await).await });
        let mut latencies = futures::future::join_all(each).await;
        latencies.sort_unstable();
        let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
        println!(
            "| {name} | {rate}/s | {:.1}/s | {:.2} for each | {} of {count} | {:.0?} | {:.0?} |",
            f64::from(count) / began.elapsed().as_secs_f64(),
            self.store.lost.load(Ordering::Relaxed) as f64 / f64::from(count),
            self.put_off.load(Ordering::Relaxed),
            at(50),
            at(99),
        );
    }

    /// Delivers an event until it is acked, as Pub/Sub does. Returns the time until then.
    async fn push(&self, event_type: &str, number: u32, data: &Value) -> Duration {
        let attributes: BTreeMap<&str, String> = BTreeMap::from([
            ("ce-type", event_type.to_owned()),
            ("ce-source", "//bench".to_owned()),
            ("ce-id", format!("{event_type}-{number}")),
        ]);
        let message = json!({
            "messageId": format!("{event_type}-{number}"),
            "attributes": attributes,
            "data": STANDARD.encode(data.to_string()),
        });
        let body =
            json!({ "message": message, "subscription": "projects/bench/subscriptions/bench" }).to_string();
        let began = Instant::now();
        loop {
            let request = Request::post("/").body(Body::from(body.clone())).expect("a request");
            let answer = self.app.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
            if answer.status().is_success() {
                return began.elapsed();
            }
            self.put_off.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }
}

/// Counts the commits that lost a race.
struct Counted {
    firestore: Firestore,
    latency: Duration,
    lost: AtomicU64,
}

#[async_trait]
impl Store for Counted {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        tokio::time::sleep(self.latency).await;
        self.firestore.get(path).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        tokio::time::sleep(self.latency).await;
        let done = self.firestore.commit(writes).await;
        self.lost.fetch_add(u64::from(matches!(done, Err(CommitError::Conflict))), Ordering::Relaxed);
        done
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        self.firestore.list(query).await
    }
}

struct Nowhere;

#[async_trait]
impl Publisher for Nowhere {
    async fn publish(&self, _: Message) -> Result<String, PublishError> {
        Ok("1".to_owned())
    }
}
