//! People sell and buy tickets in worlds full of faults. No ticket is sold twice, each order ends once, and
//! nobody pays for a ticket that somebody else got.

use std::{cell::RefCell, collections::BTreeMap, pin::pin, time::Duration};

use axum::http::Method;
use effects::{mail::Mailer, payments::Gateway};
use futures::future::{Either, join_all, select};
use pushbox::{AccessTokens, Ports, System};
use serde_json::{Value, json};
use simulation::{Answer, EXPLORED_FROM, Input, Outside, Repeats, Scenario, World};

use crate::{charges, expect, payments, people};

const TICKETS: &str = "ticket-service";
const ORDERS: &str = "ticket-order-service";
const PAYMENTS: &str = "ticket-payment-service";

/// The services of tickets, orders and timers, with the real payments or with a model of them. The news of the model's
/// charges can be late. The real payments take no money after the deadline, and only a fault makes the news late.
/// `LOCK` is the time to pay an order, in minutes.
struct Market<const WITH_PAYMENTS: bool, const LOCK: u32>;

/// In each world some of these buy. The seller may be among them.
const BUYERS: [&str; 4] = ["ann", "bob", "cy", "sue"];

const SELLER: &str = "sue";

/// Orders often expire while others are paid.
const SHORT: u32 = 1;

/// No fault of a small world takes as long, so that a delivery after a fault finds the same order.
const LONG: u32 = 15;

impl<const WITH_PAYMENTS: bool, const LOCK: u32> Scenario for Market<WITH_PAYMENTS, LOCK> {
    const PERSONAL: &'static [&'static str] = &["Bearer ", "@example.com"];

    fn systems(ports: &Ports, outside: &Outside) -> Vec<System> {
        let mut config = people::config(ports, LOCK);
        if WITH_PAYMENTS {
            config.gateway = Gateway::local(outside.store(Repeats::Harmless), ports.clock.clone());
            config.mailer = Mailer::local(outside.store(Repeats::Harmful), ports.clock.clone());
        }
        let mut system = ticketing::system(config);
        system.services.retain(|service| service.name() != "auth-service");
        if !WITH_PAYMENTS {
            system.services.retain(|service| service.name() != PAYMENTS);
            system.services.push(payments::service());
        }
        vec![system]
    }

    fn access_tokens() -> AccessTokens {
        people::access_tokens()
    }

    async fn play(&self, world: World) -> Result<(), String> {
        if WITH_PAYMENTS {
            for buyer in BUYERS {
                let email = format!("{buyer}@example.com");
                let account = json!({ "event": "account.created", "userId": buyer, "email": email });
                world.publish_by_hand("ticketing-events", &account);
            }
        }
        let mut tickets = Vec::new();
        for number in 0..=world.pick(2) {
            let key = format!("ticket-{number}");
            let offer = send(&world, SELLER, TICKETS, Method::POST, "/tickets", &key, &ticket(4500)).await;
            expect("answer to an offer", &offer.status.as_u16(), &201)?;
            tickets.push(text(&offer.body["ticketId"]));
        }
        let history: RefCell<History> = RefCell::default();
        let story = pin!(async {
            let number = 2 + world.pick(3);
            let visits =
                (0..number).map(|number| visit::<WITH_PAYMENTS>(&world, BUYERS[number], number, &tickets));
            let sale = change(&world, &tickets[0]);
            futures::join!(join_all(visits), sale);
            if world.pick(3) == 0 {
                repeat_by_hand(&world).await;
            }
            world.settle().await
        });
        match select(story, pin!(watch(&world, &history))).await {
            Either::Left((settled, _)) => settled?,
            Either::Right((violation, _)) => return Err(violation),
        }
        history.take().look(&world).await?;
        check(&world).await?;
        if WITH_PAYMENTS {
            gateway(&world).await?
        } else {
            model(&world).await?
        }
        expect("dead letters", &world.dead_letters(), &Vec::new())
    }
}

fn ticket(minor: u64) -> Value {
    json!({ "title": "Ghost, Friday", "price": price(minor) })
}

fn price(minor: u64) -> Value {
    json!({ "minor": minor, "currency": "eur" })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Sends a command until the answer is final.
async fn send(
    world: &World,
    user: &str,
    service: &str,
    method: Method,
    path: &str,
    key: &str,
    body: &Value,
) -> Answer {
    let bearer = format!("Bearer {}", people::token(user, world.now()));
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    world.insist_with(service, method, path, &headers, body).await
}

/// A buyer orders a ticket once or twice, and pays or does not pay.
async fn visit<const WITH_PAYMENTS: bool>(world: &World, user: &str, number: usize, tickets: &[String]) {
    for round in 0..=world.pick(2) {
        world.pause_up_to(Duration::from_secs(40)).await;
        let ticket = &tickets[world.pick(tickets.len())];
        let key = format!("order-{number}-{round}");
        let body = json!({ "ticketId": ticket, "expectedPrice": price(4500) });
        let answer = send(world, user, ORDERS, Method::POST, "/orders", &key, &body).await;
        if answer.status == 202 {
            follow::<WITH_PAYMENTS>(world, user, &text(&answer.body["orderId"])).await;
        }
    }
}

/// The buyer of an order decides.
async fn follow<const WITH_PAYMENTS: bool>(world: &World, user: &str, order: &str) {
    let cancel = async |key: &str| {
        let (path, key) = (format!("/orders/{order}"), format!("{key}-{order}"));
        send(world, user, ORDERS, Method::DELETE, &path, &key, &Value::Null).await
    };
    let pay = async |late_seconds: usize| {
        let (service, path, body) = if WITH_PAYMENTS {
            let method = ["pm_card_visa", "pm_card_visa", "pm_card_visa_chargeDeclined"][world.pick(3)];
            (PAYMENTS, "/payments".to_owned(), json!({ "orderId": order, "paymentMethod": method }))
        } else {
            (payments::NAME, format!("/payments/{order}"), json!({ "lateSeconds": late_seconds }))
        };
        // The payments may not have heard of the order yet.
        for number in 0..5 {
            let key = format!("pay-{order}-{number}");
            if send(world, user, service, Method::POST, &path, &key, &body).await.status == 202 {
                break;
            }
            world.pause_up_to(Duration::from_secs(4)).await;
        }
    };
    match world.pick(8) {
        0 | 1 => pay(0).await,
        // The charge comes around the end of the time to pay.
        2 => pay(35 + world.pick(60)).await,
        3 => {
            world.pause_up_to(Duration::from_secs(40)).await;
            pay(world.pick(30)).await;
        }
        4 => drop(cancel("cancel").await),
        5 => drop(futures::join!(pay(world.pick(3)), cancel("cancel"))),
        6 => {
            pay(0).await;
            world.pause_up_to(Duration::from_secs(30)).await;
            cancel("cancel").await;
            cancel("again").await;
        }
        _ => world.pause_up_to(Duration::from_secs(60)).await,
    }
}

/// The seller changes the price to and fro, or withdraws the ticket.
async fn change(world: &World, ticket_id: &str) {
    let path = format!("/tickets/{ticket_id}");
    for round in 0..world.pick(4) {
        world.pause_up_to(Duration::from_secs(60)).await;
        let (minor, key) = (4500 + 100 * world.pick(2) as u64, format!("change-{round}"));
        send(world, SELLER, TICKETS, Method::PUT, &path, &key, &ticket(minor)).await;
    }
    if world.pick(4) == 0 {
        send(world, SELLER, TICKETS, Method::DELETE, &path, "withdraw", &Value::Null).await;
    }
}

/// Publishes all events once more, by hand: without the ids that would show that they are repeats. Those of timers
/// come early.
async fn repeat_by_hand(world: &World) {
    world.pause_up_to(Duration::from_secs(20)).await;
    for service in [TICKETS, ORDERS, "expiration-service", PAYMENTS, payments::NAME] {
        for receipt in world.documents(&format!("{service}/receipts")).await {
            for event in receipt["events"].as_array().into_iter().flatten() {
                let data: Value = serde_json::from_str(&text(&event["data"])).expect("JSON");
                world.publish_by_hand(&text(&event["topic"]), &data);
            }
        }
    }
}

/// The statuses of the orders that were seen.
#[derive(Default)]
struct History(BTreeMap<String, String>);

impl History {
    /// No order leaves a final state, and no two orders of a ticket await payment.
    async fn look(&mut self, world: &World) -> Result<(), String> {
        let mut live = BTreeMap::new();
        for order in world.documents(&format!("{ORDERS}/orders")).await {
            let (id, status) = (text(&order["orderId"]), text(&order["status"]));
            let before = self.0.insert(id.clone(), status.clone()).unwrap_or_else(|| "pending".to_owned());
            let may_follow = match before.as_str() {
                "pending" => true,
                "awaitingPayment" => {
                    ["completed", "refunding", "refunded", "cancelled", "expired"].contains(&status.as_str())
                }
                "completed" => ["refunding", "refunded"].contains(&status.as_str()),
                "refunding" => status == "refunded",
                _ => false,
            };
            if before != status && !may_follow {
                return Err(format!("no order leaves a final state: {id} was {before} and is {status}"));
            }
            if status == "awaitingPayment"
                && let Some(other) = live.insert(text(&order["ticketId"]), id.clone())
            {
                return Err(format!("a ticket has one live lock: {other} and {id} have it"));
            }
        }
        Ok(())
    }
}

/// Looks again and again. Returns only if a rule is broken.
async fn watch(world: &World, history: &RefCell<History>) -> String {
    for round in 0.. {
        let mut seen = history.take();
        if let Err(violation) = seen.look(world).await {
            return violation;
        }
        history.replace(seen);
        // The pauses grow, because less and less happens.
        world.pause_up_to(Duration::from_secs(4 << (round / 50).min(14))).await;
    }
    unreachable!("the rounds never end")
}

/// The rules of a world that has settled.
async fn check(world: &World) -> Result<(), String> {
    let orders = world.documents(&format!("{ORDERS}/orders")).await;
    let status = |order: &Value| text(&order["status"]);
    for order in &orders {
        let is_end =
            ["completed", "cancelled", "expired", "refused", "refunded"].contains(&status(order).as_str());
        expect(&format!("{order} has ended"), &is_end, &true)?;
        expect(
            "nobody buys an own ticket",
            &(status(order) == "completed" && order["buyer"] == SELLER),
            &false,
        )?;
    }
    for buyer in world.documents(&format!("{ORDERS}/buyers")).await {
        expect("live orders", &buyer["live"], &json!([]))?;
    }
    for ticket in world.documents(&format!("{TICKETS}/tickets")).await {
        let (id, state) = (&ticket["ticketId"], &ticket["state"]);
        let completed: Vec<&Value> = orders
            .iter()
            .filter(|order| order["ticketId"] == *id && status(order) == "completed")
            .map(|order| &order["orderId"])
            .collect();
        let expected = if state["is"] == "sold" { vec![&state["orderId"]] } else { Vec::new() };
        expect(&format!("completed orders of {ticket}"), &completed, &expected)?;
        expect("every lock ends: the ticket is locked", &(state["is"] == "locked"), &false)?;
    }
    Ok(())
}

/// At the gateway, the charges without the refunds are the prices of the completed orders.
async fn gateway(world: &World) -> Result<(), String> {
    let charges = world.outside("local-payment-gateway/charges").await;
    let paid: Vec<&Value> = charges.iter().filter(|it| it["outcome"]["status"] == "paid").collect();
    let refunds = world.outside("local-payment-gateway/refunds").await;
    let accounts = world.documents(&format!("{PAYMENTS}/accounts")).await;
    for charge in &paid {
        expect("charged amount", &charge["payment"]["amount"], &price(4500))?;
        charges::in_time(charge, &accounts)?;
    }
    for order in world.documents(&format!("{ORDERS}/orders")).await {
        let charged = paid.iter().filter(|it| it["payment"]["reference"] == order["orderId"]).count();
        let refunded = refunds.iter().filter(|it| it["reference"] == order["orderId"]).count();
        let kept = usize::from(order["status"] == "completed");
        expect(&format!("charges and refunds of {order}"), &charged, &(refunded + kept))?;
        expect(&format!("{order} is charged at most once"), &(charged <= 1), &true)?;
    }
    expect("mails", &world.outside("local-mailbox/mails").await.len(), &refunds.len())
}

/// The same with the model of payments.
async fn model(world: &World) -> Result<(), String> {
    let status = |order: &Value| text(&order["status"]);
    let orders = world.documents(&format!("{ORDERS}/orders")).await;
    let accounts = world.documents(&format!("{}/accounts", payments::NAME)).await;
    for order in &orders {
        let account = accounts.iter().find(|account| account["orderId"] == order["orderId"]);
        let due = account.map(|account| &account["due"]["price"]).filter(|price| !price.is_null());
        expect("the price is the one that the buyer saw", &due.unwrap_or(&price(4500)), &&price(4500))?;
        let is_charged =
            account.is_some_and(|it| !it["charge"].is_null() && it["isRefunded"] == json!(false));
        let what = format!("{order} is paid if it is completed, and otherwise not");
        expect(&what, &is_charged, &(status(order) == "completed"))?;
    }
    Ok(())
}

#[test]
fn nobody_pays_for_a_ticket_that_somebody_else_got() {
    let counts = simulation::check(&Market::<false, SHORT>);
    // A small number of worlds does not contain all faults.
    let missing: Vec<_> =
        counts.missing().into_iter().filter(|(step, _)| *step != simulation::Step::Call).collect();
    assert!(counts.worlds < simulation::SEEDS || missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn with_the_gateway_nobody_pays_for_a_ticket_that_somebody_else_got() {
    let counts = simulation::check(&Market::<true, SHORT>);
    assert!(
        counts.worlds < simulation::SEEDS || counts.missing().is_empty(),
        "never happened: {:?}",
        counts.missing()
    );
}

#[test]
fn a_seed_of_the_market_replays_every_step() {
    let (_, first) = simulation::play(&Market::<true, SHORT>, 7).expect("seed 7");
    let (_, second) = simulation::play(&Market::<true, SHORT>, 7).expect("seed 7");
    assert_eq!(first, second);
}

#[test]
fn nobody_pays_for_a_ticket_that_somebody_else_got_in_every_small_world() {
    let command = |user: &str, service, method, path, body| Input::Command {
        service,
        method,
        path,
        token: Some(people::token(user, EXPLORED_FROM)),
        body,
    };
    let sell = || command(SELLER, TICKETS, Method::POST, "/tickets", ticket(4500));
    let edit = || command(SELLER, TICKETS, Method::PUT, "/tickets/$0.ticketId", ticket(4600));
    let withdraw = || command(SELLER, TICKETS, Method::DELETE, "/tickets/$0.ticketId", Value::Null);
    let order = |user| {
        let body = json!({ "ticketId": "$0.ticketId", "expectedPrice": price(4500) });
        command(user, ORDERS, Method::POST, "/orders", body)
    };
    let cancel = || command("ann", ORDERS, Method::DELETE, "/orders/$1.orderId", Value::Null);
    let pay = |path| command("ann", payments::NAME, Method::POST, path, json!({}));
    let late = || {
        let body = json!({ "lateSeconds": 60 * (LONG + 1) });
        command("ann", payments::NAME, Method::POST, "/payments/$1.orderId", body)
    };
    simulation::explore::<Market<false, LONG>>(
        &[],
        &[
            vec![sell(), edit(), withdraw(), order("ann")],
            vec![
                sell(),
                order("ann"),
                order("bob"),
                pay("/declines/$1.orderId"),
                pay("/payments/$1.orderId"),
            ],
            vec![sell(), order("ann"), pay("/payments/$1.orderId"), cancel(), pay("/failures/$1.orderId")],
            vec![sell(), order("ann"), cancel()],
            vec![sell(), order("ann"), late(), Input::Timers, order("bob")],
            vec![sell(), pay("/revocations/some-session")],
        ],
    );
}
