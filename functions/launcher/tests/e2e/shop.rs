//! The shop: orders, payments and stock, with one process for each service.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{harness::expect, world::World};

const SERVICES: [&str; 8] = [
    "order-api",
    "order-service",
    "payment-service",
    "cancel-service",
    "cancel-mail-service",
    "invoice-service",
    "invoice-mail-service",
    "log-service",
];

const GOOD: &str = "pm_card_visa";
const BAD: &str = "pm_card_visa_chargeDeclinedInsufficientFunds";

/// How long a test waits for hundreds of orders on a busy machine. The emulator redelivers after ten
/// seconds at the earliest.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn an_order_is_completed_cancelled_or_rejected() {
    let shop = Shop::open("shop", 5).await;
    let bought = shop.order("bought", 2, GOOD).await;
    shop.settled(5, &[&bought]).await;
    assert_eq!(shop.status(&bought).await, Ok("completed".to_owned()));

    let (declined, short) = (shop.order("declined", 1, BAD).await, shop.order("short", 4, GOOD).await);
    shop.settled(5, &[&bought, &declined, &short]).await;
    assert_eq!(shop.status(&declined).await, Ok("cancelled".to_owned()));
    assert_eq!(shop.status(&short).await, Ok("rejected".to_owned()));

    let logs = shop.0.get_json("log-service", "/logs?service=order-service&level=info").await.expect("logs");
    assert_eq!(logs["items"][0]["message"], "order rejected: tea is short of stock", "{logs}");
    let later = shop.0.get_json("log-service", "/logs?since=9999-01-01T00:00:00Z").await.expect("logs");
    assert_eq!(later["items"], json!([]));
}

#[tokio::test]
async fn of_200_concurrent_orders_for_50_items_exactly_50_are_sold() {
    let shop = Shop::open("last-items", 50).await;
    let keys: Vec<String> = (0..200).map(|number| format!("order-{number}")).collect();
    let orders = join_all(keys.iter().map(|key| shop.order(key, 1, GOOD))).await;
    let began = Instant::now();
    shop.settled(50, &orders.iter().collect::<Vec<_>>()).await;
    println!("200 orders for 50 items have settled after {:?}", began.elapsed());
    let mut statuses = BTreeMap::<String, u32>::new();
    for order in &orders {
        *statuses.entry(shop.status(order).await.expect("a status")).or_default() += 1;
    }
    assert_eq!(statuses, BTreeMap::from([("completed".to_owned(), 50), ("rejected".to_owned(), 150)]));
}

#[tokio::test]
async fn no_order_is_lost_if_each_service_is_killed_under_load() {
    const ORDERS: usize = 60;
    let shop = Shop::open("killed-shop", 50).await;
    let orders = join_all((0..ORDERS).map(|number| {
        let shop = &shop;
        async move {
            tokio::time::sleep(Duration::from_millis(300) * number as u32).await;
            let method = if number % 5 == 4 { BAD } else { GOOD };
            shop.order(&format!("order-{number}"), 1, method).await
        }
    }));
    let kill = async {
        for service in SERVICES {
            tokio::time::sleep(Duration::from_millis(500)).await;
            shop.0.kill(service);
            tokio::time::sleep(Duration::from_secs(1)).await;
            shop.0.start_service(service).await;
        }
    };
    let (orders, ()) = tokio::join!(orders, kill);
    shop.settled(50, &orders.iter().collect::<Vec<_>>()).await;
}

/// The shop, with tea in stock.
struct Shop(World);

impl Shop {
    async fn open(name: &'static str, stock: i64) -> Self {
        let shop = Self(World::plan(name).services(&SERVICES).start().await);
        let tea =
            json!({ "name": "Green tea", "price": { "minor": 1250, "currency": "eur" }, "stock": stock });
        let answer = shop.0.put("order-service", "/products/tea").json(&tea).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
        shop
    }

    /// Repeats an order until it is accepted, as a customer would, and returns the order's id.
    async fn order(&self, key: &str, quantity: u32, method: &str) -> String {
        let order = json!({
            "customerEmail": "ada@example.com",
            "lines": [{ "sku": "tea", "quantity": quantity }],
            "paymentMethod": method,
        });
        let began = Instant::now();
        loop {
            let request = self.0.post("order-api", "/orders").header("Idempotency-Key", key).json(&order);
            match request.send().await {
                Ok(answer) if answer.status() == 202 => {
                    let accepted: Value = answer.json().await.expect("JSON");
                    return accepted["orderId"].as_str().expect("an order id").to_owned();
                }
                answer => assert!(began.elapsed() < PATIENCE, "no order: {answer:?}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn status(&self, order: &str) -> Result<String, String> {
        let order = self.0.get_json("order-api", &format!("/orders/{order}")).await?;
        Ok(order["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until each order has a final status, and the stock, the charges, the invoices and the mails
    /// match these statuses.
    async fn settled(&self, stock: i64, orders: &[&String]) {
        let began = Instant::now();
        while let Err(reason) = self.is_settled(stock, orders).await {
            assert!(began.elapsed() < PATIENCE, "{} orders do not settle: {reason}", orders.len());
            // Cloud Scheduler makes these calls each minute.
            for service in ["order-api", "order-service", "payment-service", "invoice-service"] {
                let _ = self.0.post(service, "/relay").send().await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn is_settled(&self, stock: i64, orders: &[&String]) -> Result<(), String> {
        let mut by_status = BTreeMap::<String, Vec<&str>>::new();
        for order in orders {
            by_status.entry(self.status(order).await?).or_default().push(order);
        }
        let with_status = |status: &str| by_status.get(status).map_or(&[][..], Vec::as_slice);
        let (completed, cancelled, rejected) =
            (with_status("completed"), with_status("cancelled"), with_status("rejected"));
        let unfinished: Vec<_> = by_status
            .keys()
            .filter(|status| !["completed", "cancelled", "rejected"].contains(&&***status))
            .collect();
        expect("unfinished orders", &unfinished, &Vec::new())?;

        // The quantities come from the documents of order-service.
        let stored = self.0.firestore.documents("order-service/orders").await;
        expect("orders at order-service", &stored.len(), &orders.len())?;
        let sold = stored.iter().filter(|order| order["status"] == "completed");
        let sold: i64 = sold.filter_map(|order| order["lines"][0]["quantity"].as_i64()).sum();
        let products = self.0.get_json("order-service", "/products").await?;
        let levels = json!({ "free": stock - sold, "held": 0, "sold": sold });
        expect("stock", &products["items"][0]["stock"], &levels)?;

        let charges = self.0.firestore.documents("local-payment-gateway/charges").await;
        let references = |status: &str| {
            let charges = charges.iter().filter(|charge| charge["outcome"]["status"] == status);
            sorted(charges.filter_map(|charge| charge["payment"]["reference"].as_str()))
        };
        expect("paid", &references("paid"), &sorted(completed.iter().copied()))?;
        expect("declined", &references("declined"), &sorted(cancelled.iter().copied()))?;

        let invoices = self.0.firestore.documents("invoice-service/invoices").await;
        let invoiced = sorted(invoices.iter().filter_map(|invoice| invoice["orderId"].as_str()));
        expect("invoiced", &invoiced, &sorted(completed.iter().copied()))?;
        let numbers = sorted(invoices.iter().filter_map(|invoice| invoice["number"].as_str()?.get(5..)));
        let gapless: Vec<String> = (1..=completed.len()).map(|number| format!("{number:06}")).collect();
        expect("invoice numbers", &numbers, &sorted(gapless.iter().map(String::as_str)))?;

        let mails = self.0.firestore.documents("local-mailbox/mails").await;
        let count = |words: &str| {
            let subjects = mails.iter().filter_map(|mail| mail["subject"].as_str());
            subjects.filter(|subject| subject.contains(words)).count()
        };
        let counts = [count("Your invoice"), count("is cancelled"), count("We cannot deliver"), mails.len()];
        expect("mails", &counts, &[completed.len(), cancelled.len(), rejected.len(), orders.len()])
    }
}

fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_unstable();
    texts
}
