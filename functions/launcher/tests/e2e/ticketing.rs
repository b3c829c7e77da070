//! The ticketing system: people sign in, sell tickets and buy them, with one process for each service.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, future::join_all, stream};
use reqwest::{Client, Method, StatusCode, header};
use serde_json::{Value, json};
use ticketing::SigningKey;

use crate::{
    emulators::variable,
    harness::{eventually, expect},
    world::World,
};

const AUTH: &str = "auth-service";
const TICKETS: &str = "ticket-service";
const ORDERS: &str = "ticket-order-service";
const EXPIRATION: &str = "expiration-service";
const PAYMENTS: &str = "ticket-payment-service";

const GOOD: &str = "pm_card_visa";
const BAD: &str = "pm_card_visa_chargeDeclinedInsufficientFunds";

/// How long a test waits for a hundred orders on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn a_ticket_is_sold_given_back_and_sold_to_another_card() {
    let market = Market::open("market").await;
    let (sue, ann, bob) =
        (market.person("sue").await, market.person("ann").await, market.person("bob").await);
    let ticket = market.offer(&sue, "offer").await;

    let order = market.order(&ann, "first", &ticket).await;
    market.becomes(&ann, &order, "awaitingPayment").await;
    // Nobody else gets the ticket or sees the order.
    let late = market.order(&bob, "late", &ticket).await;
    market.becomes(&bob, &late, "refused").await;
    let foreign = market.ask(&bob, Method::GET, ORDERS, &format!("/orders/{order}"), "", &Value::Null).await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    market.pay(&ann, &order, GOOD).await;
    market.becomes(&ann, &order, "completed").await;
    market.ticket_is(&ticket, "sold").await;

    // Ann gives it back. It is listed again after the refund, and a mail tells her.
    market.send(&ann, Method::DELETE, ORDERS, &format!("/orders/{order}"), "back", &Value::Null).await;
    market.becomes(&ann, &order, "refunded").await;
    market.ticket_is(&ticket, "listed").await;
    market.mails("refund", 1).await;

    // Bob's first card is declined, and his second one pays.
    let order = market.order(&bob, "again", &ticket).await;
    market.becomes(&bob, &order, "awaitingPayment").await;
    market.pay(&bob, &order, BAD).await;
    market.payment_is(&bob, &order, "declined").await;
    market.pay(&bob, &order, GOOD).await;
    market.becomes(&bob, &order, "completed").await;
    market.ticket_is(&ticket, "sold").await;
    market.money_matches_the_orders().await;
}

/// The timer is a task of the stand-in for Cloud Tasks, which publishes to the emulator of Pub/Sub, which pushes.
#[tokio::test]
async fn an_order_expires_and_somebody_else_buys_the_ticket() {
    let market = Market::open("expiry").await;
    let (sue, ann, bob) =
        (market.person("sue").await, market.person("ann").await, market.person("bob").await);
    let ticket = market.offer(&sue, "offer").await;
    let order = market.order(&ann, "first", &ticket).await;
    market.becomes(&ann, &order, "awaitingPayment").await;
    market.fire_timer(&order).await;
    market.becomes(&ann, &order, "expired").await;
    market.ticket_is(&ticket, "listed").await;

    let second = market.order(&bob, "second", &ticket).await;
    market.becomes(&bob, &second, "awaitingPayment").await;
    market.pay(&bob, &second, GOOD).await;
    market.becomes(&bob, &second, "completed").await;
    // It is not needed any more.
    eventually("the timer is cancelled", async || {
        expect("timers", &market.timer(&second).await.is_some(), &false)
    })
    .await;
    market.money_matches_the_orders().await;
}

/// Somebody has purged the queue.
#[tokio::test]
async fn a_lost_timer_is_restored_from_the_receipts() {
    let market = Market::open("lost-timer").await;
    let (sue, ann) = (market.person("sue").await, market.person("ann").await);
    let ticket = market.offer(&sue, "offer").await;
    let order = market.order(&ann, "first", &ticket).await;
    market.becomes(&ann, &order, "awaitingPayment").await;
    let task = market.awaited_timer(&order).await;
    let deleted = market.http.delete(market.task(&task)).send().await.expect("the stand-in answers");
    assert!(deleted.status().is_success(), "{deleted:?}");
    for _ in 0..2 {
        eventually("the timers are reconciled", async || {
            let output =
                market.world.functions(&["timers", "reconcile", EXPIRATION]).output().expect("it runs");
            let printed = String::from_utf8_lossy(&output.stdout);
            // A busy emulator may not answer in time, and then a person repeats the command.
            if printed.contains("1 timers in the receipts") { Ok(()) } else { Err(format!("{output:?}")) }
        })
        .await;
    }
    market.fire_timer(&order).await;
    market.becomes(&ann, &order, "expired").await;
    let output = market.world.functions(&["timers", "reconcile", TICKETS]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("ticket-service is no service that delays events"), "{errors}");
}

/// A charge begins in time. The process dies before it can tell, and the order ends meanwhile.
#[tokio::test]
async fn a_charge_of_the_last_second_is_refunded_if_the_order_has_ended() {
    let market = Market::open("last-second").await;
    let (sue, ann, bob) =
        (market.person("sue").await, market.person("ann").await, market.person("bob").await);
    let ticket = market.offer(&sue, "offer").await;
    let order = market.order(&ann, "first", &ticket).await;
    market.becomes(&ann, &order, "awaitingPayment").await;
    eventually("the payment service knows the order", async || {
        let path = format!("/payments/{order}");
        expect(
            "answer",
            &market.ask(&ann, Method::GET, PAYMENTS, &path, "", &Value::Null).await.0.as_u16(),
            &200,
        )
    })
    .await;
    market.world.start_with(PAYMENTS, &[("FAULT_POINT", "performed")]).await;
    market.pay(&ann, &order, GOOD).await;
    market.world.logged(PAYMENTS, "fault point performed reached").await;
    market.fire_timer(&order).await;
    market.becomes(&ann, &order, "expired").await;

    let second = market.order(&bob, "second", &ticket).await;
    market.becomes(&bob, &second, "awaitingPayment").await;
    market.world.start_service(PAYMENTS).await;
    market.payment_is(&ann, &order, "refunded").await;
    market.becomes(&ann, &order, "expired").await;
    market.mails("refund", 1).await;
    market.pay(&bob, &second, GOOD).await;
    market.becomes(&bob, &second, "completed").await;
    market.money_matches_the_orders().await;
}

/// A charge needs 20 seconds.
#[tokio::test]
async fn no_charge_begins_in_the_last_seconds() {
    let market = Market::open_with("too-late", &[("TICKET_LOCK_MINUTES", "1")]).await;
    let (sue, ann) = (market.person("sue").await, market.person("ann").await);
    let ticket = market.offer(&sue, "offer").await;
    let order = market.order(&ann, "first", &ticket).await;
    market.becomes(&ann, &order, "awaitingPayment").await;
    market.pay(&ann, &order, BAD).await;
    market.payment_is(&ann, &order, "declined").await;
    eventually("a payment comes too late", async || {
        let path = format!("/orders/{order}");
        let seen = market.ask(&ann, Method::GET, ORDERS, &path, "", &Value::Null).await.1;
        let left = seen["secondsLeft"].as_i64().unwrap_or_default();
        if left >= 20 { Err(format!("{left} s left")) } else { Ok(()) }
    })
    .await;
    let body = json!({ "orderId": order, "paymentMethod": GOOD });
    let (status, problem) = market.send(&ann, Method::POST, PAYMENTS, "/payments", "late", &body).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    eventually("the time to pay has passed", async || {
        let path = format!("/orders/{order}");
        let seen = market.ask(&ann, Method::GET, ORDERS, &path, "", &Value::Null).await.1;
        if seen["secondsLeft"] == 0 || seen["status"] == "expired" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    // The timer fires by itself, when the grace has passed, too.
    market.becomes(&ann, &order, "expired").await;
    market.ticket_is(&ticket, "listed").await;
    market.money_matches_the_orders().await;
}

/// A thief has a copy of the cookie, and uses it first.
#[tokio::test]
async fn a_stolen_session_ends_and_can_buy_nothing() {
    let market = Market::open("thief").await;
    let (sue, ann) = (market.person("sue").await, market.person("ann").await);
    let ticket = market.offer(&sue, "offer").await;
    let order = market.order(&ann, "first", &ticket).await;
    market.becomes(&ann, &order, "awaitingPayment").await;

    let stolen = market.refresh(&ann.cookie).await.expect("a copy is as good as the cookie");
    let thief = market.refresh(&stolen.cookie).await.expect("the newest value is good");
    // Two refreshes later, the value of the owner shows that there is a copy.
    assert_eq!(market.refresh(&ann.cookie).await.err(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(market.refresh(&thief.cookie).await.err(), Some(StatusCode::UNAUTHORIZED));
    for (service, method, path, body) in [
        (PAYMENTS, Method::POST, "/payments".to_owned(), json!({ "orderId": order, "paymentMethod": GOOD })),
        (ORDERS, Method::DELETE, format!("/orders/{order}"), Value::Null),
        (TICKETS, Method::POST, "/tickets".to_owned(), ghost()),
    ] {
        eventually(&format!("{service} has heard of the end of the session"), async || {
            let ended = market.world.firestore.documents(&format!("{service}/revoked")).await;
            expect("ended sessions", &ended.len(), &1)
        })
        .await;
        let answer = market.ask(&thief, method, service, &path, "", &body).await;
        assert_eq!(answer.0, StatusCode::UNAUTHORIZED, "{service}: {answer:?}");
    }
    assert_eq!(market.status(&ann, &order).await, Ok("awaitingPayment".to_owned()));
}

#[tokio::test]
async fn of_100_buyers_10_get_the_10_tickets_even_if_each_service_is_killed() {
    const BUYERS: usize = 100;
    let market = Market::open("hundred").await;
    let sue = market.person("sue").await;
    let mut tickets = Vec::new();
    for number in 0..10 {
        tickets.push(market.offer(&sue, &format!("offer-{number}")).await);
    }
    // A few at a time, because each password costs much time of the processor.
    let signed_in = stream::iter(0..BUYERS).map(|number| {
        let market = &market;
        async move { market.person(&format!("buyer-{number}")).await }
    });
    let people: Vec<Person> = signed_in.buffer_unordered(4).collect().await;
    // On a slow machine, the first access tokens are about to expire by now.
    let fresh = stream::iter(&people).map(|person| market.refresh(&person.cookie)).buffer_unordered(8);
    let people: Vec<Person> = fresh.map(|person| person.expect("a session")).collect().await;
    let began = Instant::now();
    let buyers = join_all(people.iter().enumerate().map(|(number, buyer)| {
        let (market, tickets) = (&market, &tickets);
        async move {
            let order = market.order(buyer, "order", &tickets[number % 10]).await;
            loop {
                match market.status(buyer, &order).await.as_deref() {
                    Ok("awaitingPayment") => market.pay(buyer, &order, GOOD).await,
                    Ok("completed") => return true,
                    Ok("refused") => return false,
                    seen => assert!(began.elapsed() < PATIENCE, "{order} does not end: {seen:?}"),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }));
    let kill = async {
        for service in [TICKETS, ORDERS, PAYMENTS, EXPIRATION, TICKETS, ORDERS, PAYMENTS, AUTH] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            market.world.kill(service);
            tokio::time::sleep(Duration::from_secs(1)).await;
            market.world.start_service(service).await;
        }
    };
    let relay = async {
        loop {
            // Cloud Scheduler makes these calls each minute.
            for service in [AUTH, TICKETS, ORDERS, PAYMENTS] {
                let _ = market.world.post(service, "/relay").send().await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    let bought = tokio::select! {
        (bought, ()) = async { tokio::join!(buyers, kill) } => bought,
        () = relay => unreachable!("it never ends"),
    };
    println!("100 orders for 10 tickets have ended after {:?}", began.elapsed());
    assert_eq!(bought.iter().filter(|bought| **bought).count(), 10);
    for ticket in &tickets {
        market.ticket_is(ticket, "sold").await;
    }
    market.money_matches_the_orders().await;
}

/// All services of the system.
struct Market {
    world: World,
    http: Client,
}

/// Somebody who is signed in.
struct Person {
    token: String,
    cookie: String,
}

impl Market {
    async fn open(name: &'static str) -> Self {
        Self::open_with(name, &[]).await
    }

    async fn open_with(name: &'static str, variables: &[(&'static str, &str)]) -> Self {
        let key = SigningKey::generate().expect("a key");
        let plan = World::plan(name)
            .services(&[AUTH, TICKETS, ORDERS, EXPIRATION, PAYMENTS])
            .variable("AUTH_ISSUER", "https://auth.example.com")
            .variable("AUTH_JWKS", SigningKey::public_keys(&[&key]))
            .variable("AUTH_SIGNING_KEY", key.private_key())
            .variable("CLOUD_TASKS_EMULATOR_HOST", variable("CLOUD_TASKS_EMULATOR_HOST"));
        let plan = variables.iter().fold(plan, |plan, &(name, value)| plan.variable(name, value));
        Self {
            world: plan.start().await,
            http: Client::builder().no_proxy().build().expect("an HTTP client"),
        }
    }

    /// Signs a new user up.
    async fn person(&self, name: &str) -> Person {
        let body = json!({ "email": format!("{name}@example.com"), "password": "correct horse battery" });
        let began = Instant::now();
        loop {
            let request = self.world.post(AUTH, "/signup").header("Idempotency-Key", name).json(&body);
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::CREATED => return Person::of(answer).await,
                answer => assert!(began.elapsed() < PATIENCE, "no account: {answer:?}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn refresh(&self, cookie: &str) -> Result<Person, StatusCode> {
        let request = self.world.post(AUTH, "/refresh").header(header::COOKIE, cookie);
        let answer = request.send().await.expect("auth-service answers");
        if answer.status() == StatusCode::OK { Ok(Person::of(answer).await) } else { Err(answer.status()) }
    }

    /// One request, with its answer.
    async fn ask(
        &self,
        person: &Person,
        method: Method,
        service: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let request = self.world.request(method, service, path).bearer_auth(&person.token);
        let request = if key.is_empty() { request } else { request.header("Idempotency-Key", key) };
        let request = if body.is_null() { request } else { request.json(body) };
        match request.send().await {
            Ok(answer) => (answer.status(), answer.json().await.unwrap_or_default()),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, json!(error.to_string())),
        }
    }

    /// Repeats a request until its answer is final, as a client does.
    async fn send(
        &self,
        person: &Person,
        method: Method,
        service: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let began = Instant::now();
        loop {
            let answer = self.ask(person, method.clone(), service, path, key, body).await;
            if !answer.0.is_server_error() {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{service} does not answer: {answer:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn offer(&self, seller: &Person, key: &str) -> String {
        let (status, ticket) = self.send(seller, Method::POST, TICKETS, "/tickets", key, &ghost()).await;
        assert_eq!(status, StatusCode::CREATED, "{ticket}");
        text(&ticket["ticketId"])
    }

    async fn order(&self, buyer: &Person, key: &str, ticket: &str) -> String {
        let body = json!({ "ticketId": ticket, "expectedPrice": { "minor": 4500, "currency": "eur" } });
        let (status, order) = self.send(buyer, Method::POST, ORDERS, "/orders", key, &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{order}");
        text(&order["orderId"])
    }

    /// Pays an order, as soon as the payment service has heard of it.
    async fn pay(&self, buyer: &Person, order: &str, method: &str) {
        let body = json!({ "orderId": order, "paymentMethod": method });
        eventually(&format!("the payment of {order} is accepted"), async || {
            let (status, answer) = self.send(buyer, Method::POST, PAYMENTS, "/payments", "", &body).await;
            match status {
                StatusCode::ACCEPTED | StatusCode::CONFLICT => Ok(()),
                _ => Err(format!("{status} {answer}")),
            }
        })
        .await;
    }

    async fn status(&self, buyer: &Person, order: &str) -> Result<String, String> {
        let (status, seen) =
            self.ask(buyer, Method::GET, ORDERS, &format!("/orders/{order}"), "", &Value::Null).await;
        seen["status"].as_str().map(str::to_owned).ok_or_else(|| format!("{status} {seen}"))
    }

    async fn becomes(&self, buyer: &Person, order: &str, expected: &str) {
        eventually(&format!("{order} is {expected}"), async || {
            expect("status", &self.status(buyer, order).await?.as_str(), &expected)
        })
        .await;
    }

    async fn payment_is(&self, buyer: &Person, order: &str, expected: &str) {
        eventually(&format!("the payment of {order} is {expected}"), async || {
            let path = format!("/payments/{order}");
            let seen = self.ask(buyer, Method::GET, PAYMENTS, &path, "", &Value::Null).await.1;
            expect("status", &seen["status"], &expected.into())
        })
        .await;
    }

    async fn ticket_is(&self, ticket: &str, expected: &str) {
        eventually(&format!("{ticket} is {expected}"), async || {
            let seen = self.world.get_json(TICKETS, &format!("/tickets/{ticket}")).await?;
            expect("state", &seen["state"], &expected.into())
        })
        .await;
    }

    async fn mails(&self, word: &str, count: usize) {
        eventually(&format!("{count} mails say {word}"), async || {
            let mails = self.world.firestore.documents("local-mailbox/mails").await;
            let subjects = mails.iter().filter_map(|mail| mail["subject"].as_str());
            expect("mails", &subjects.filter(|subject| subject.contains(word)).count(), &count)
        })
        .await;
    }

    fn tasks(&self) -> String {
        let project = &self.world.pubsub.project;
        let host = variable("CLOUD_TASKS_EMULATOR_HOST");
        format!("http://{host}/v2/projects/{project}/locations/local/queues/{EXPIRATION}-timers/tasks")
    }

    /// The name of the task that publishes the end of an order. All tests share the queue.
    async fn timer(&self, order: &str) -> Option<String> {
        let listed = self.http.get(self.tasks()).send().await.expect("the stand-in answers");
        let listed: Value = listed.json().await.expect("JSON");
        let is_of_order = |task: &&Value| {
            let decoded =
                |text: &Value| STANDARD.decode(text.as_str().unwrap_or_default()).unwrap_or_default();
            let body: Value =
                serde_json::from_slice(&decoded(&task["httpRequest"]["body"])).unwrap_or_default();
            let data: Value =
                serde_json::from_slice(&decoded(&body["messages"][0]["data"])).unwrap_or_default();
            data["orderId"] == order
        };
        listed["tasks"].as_array()?.iter().find(is_of_order).map(|task| text(&task["name"]))
    }

    async fn awaited_timer(&self, order: &str) -> String {
        eventually("the timer is set", async || {
            self.timer(order).await.ok_or_else(|| "it is not in the queue".to_owned())
        })
        .await
    }

    /// The URL of a task.
    fn task(&self, name: &str) -> String {
        format!("{}/{}", self.tasks(), name.rsplit('/').next().unwrap_or_default())
    }

    /// Runs the timer of an order now.
    async fn fire_timer(&self, order: &str) {
        let task = self.awaited_timer(order).await;
        let run = self.http.post(format!("{}:run", self.task(&task))).json(&json!({}));
        let answer = run.send().await.expect("the stand-in answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// The charges that were not refunded are exactly those of the completed orders, each with the order's price.
    async fn money_matches_the_orders(&self) {
        let firestore = &self.world.firestore;
        let completed = firestore.documents(&format!("{ORDERS}/orders")).await;
        let completed = completed.iter().filter(|order| order["status"] == "completed");
        let expected: BTreeMap<String, Value> =
            completed.map(|order| (text(&order["orderId"]), order["price"].clone())).collect();
        let refunds = firestore.documents("local-payment-gateway/refunds").await;
        let is_refunded = |key: &str| {
            let charge = format!("local_{key}");
            refunds.iter().any(|refund| {
                refund["chargeId"] == charge.as_str() && refund["outcome"]["status"] == "refunded"
            })
        };
        let charges = firestore.documents("local-payment-gateway/charges").await;
        let mut kept = BTreeMap::new();
        for charge in charges.iter().filter(|charge| charge["outcome"]["status"] == "paid") {
            let id = text(&charge["outcome"]["id"]);
            if !is_refunded(id.trim_start_matches("local_")) {
                let (order, amount) =
                    (text(&charge["payment"]["reference"]), charge["payment"]["amount"].clone());
                assert_eq!(kept.insert(order.clone(), amount), None, "{order} is charged twice");
            }
        }
        assert_eq!(kept, expected);
        for ticket in firestore.documents(&format!("{TICKETS}/tickets")).await {
            let buyer = &ticket["state"]["orderId"];
            if ticket["state"]["is"] == "sold" {
                assert!(expected.contains_key(&text(buyer)), "{ticket} is sold without a completed order");
            }
        }
    }
}

impl Person {
    async fn of(answer: reqwest::Response) -> Self {
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("text");
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let welcome: Value = answer.json().await.expect("JSON");
        Self { token: text(&welcome["accessToken"]), cookie }
    }
}

/// A ticket to offer.
fn ghost() -> Value {
    json!({ "title": "Ghost, Friday", "price": { "minor": 4500, "currency": "eur" } })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
