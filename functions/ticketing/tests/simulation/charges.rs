//! Buyers pay orders in worlds full of faults, and the orders end meanwhile. Each attempt charges at most once, and
//! each charge that its order refuses is given back once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::http::Method;
use effects::{mail::Mailer, payments::Gateway};
use futures::future::join_all;
use jiff::Timestamp;
use pushbox::{AccessTokens, Context, Failure, Ports, Service, System};
use serde_json::{Value, json};
use simulation::{EXPLORED_FROM, Input, Outside, Repeats, Scenario, World};
use ticketing::Config;

use crate::{expect, people};

const PAYMENTS: &str = "ticket-payment-service";
const TOPIC: &str = "ticketing-events";

const GOOD: &str = "pm_card_visa";
const BAD: &str = "pm_card_visa_chargeDeclined";
const NO_REFUND: &str = "pm_card_refundFail";

/// ticket-payment-service alone. The scenario plays the services that know tickets and orders.
struct Charges;

impl Scenario for Charges {
    const PERSONAL: &'static [&'static str] = &["@example.com", "Bearer "];

    fn systems(ports: &Ports, outside: &Outside) -> Vec<System> {
        let mut system = ticketing::system(Config {
            gateway: Gateway::local(outside.store(Repeats::Harmless), ports.clock.clone()),
            mailer: Mailer::local(outside.store(Repeats::Harmful), ports.clock.clone()),
            ..people::config(ports, 15)
        });
        system.services.retain(|service| service.name() == PAYMENTS);
        system.services.push(orders());
        vec![system]
    }

    fn access_tokens() -> AccessTokens {
        people::access_tokens()
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let number = 1 + world.pick(3);
        let buyers: Vec<usize> = (0..number).collect();
        join_all(buyers.iter().map(|buyer| buy(&world, *buyer))).await;
        world.settle().await?;
        check(&world).await
    }
}

/// Plays ticket-order-service: an order that has ended refuses its charge.
fn orders() -> Service {
    use ended::Ended;
    use events::{TicketCharged, TicketOrderCancelled, TicketOrderChargeRefused, TicketOrderExpired};
    Service::new("orders", "plays the orders")
        .on(async |cancelled: TicketOrderCancelled, cx: Context| {
            cx.put(&Ended { order_id: cancelled.order_id });
            Ok::<_, Failure>(())
        })
        .on(async |expired: TicketOrderExpired, cx: Context| {
            cx.put(&Ended { order_id: expired.order_id });
            Ok::<_, Failure>(())
        })
        .on(async |charged: TicketCharged, cx: Context| {
            let TicketCharged { order_id, ticket_id, charge_id, .. } = charged;
            if cx.get::<Ended>(order_id.as_str()).await?.is_some() {
                cx.publish(&TicketOrderChargeRefused { order_id, ticket_id, charge_id });
            } else {
                cx.put(&ended::Paid { order_id, charge_id });
            }
            Ok::<_, Failure>(())
        })
        .publishes::<TicketOrderChargeRefused>()
}

mod ended {
    use events::OrderId;
    use pushbox::Document;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct Ended {
        pub(super) order_id: OrderId,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Paid {
        pub(super) order_id: OrderId,
        pub(super) charge_id: String,
    }

    impl Document for Ended {
        const COLLECTION: &'static str = "ended";
        fn id(&self) -> String {
            self.order_id.to_string()
        }
    }

    impl Document for Paid {
        const COLLECTION: &'static str = "paid";
        fn id(&self) -> String {
            self.order_id.to_string()
        }
    }
}

fn price() -> Value {
    json!({ "minor": 4500, "currency": "eur" })
}

/// The news that a ticket is locked for an order.
fn lock(order: &str, buyer: &str, until: &str) -> Value {
    json!({
        "event": "ticket.updated", "ticketId": format!("ticket-of-{order}"), "version": 2, "seller": "sue",
        "title": "Ghost, Friday", "price": price(),
        "state": { "is": "locked", "orderId": order, "buyer": buyer, "until": until, "price": price() },
    })
}

fn account(user: &str) -> Value {
    json!({ "event": "account.created", "userId": user, "email": format!("{user}@example.com") })
}

fn end(event: &str, order: &str) -> Value {
    let ticket = format!("ticket-of-{order}");
    json!({ "event": event, "orderId": order, "ticketId": ticket, "by": "ann", "refund": false })
}

/// A buyer pays with some cards. The order ends at some time, in some worlds.
async fn buy(world: &World, number: usize) {
    let (order, buyer) = (format!("order-{number}"), format!("buyer-{number}"));
    world.publish_by_hand(TOPIC, &account(&buyer));
    // In some worlds the time to pay ends soon.
    let until = ["1970-01-01T00:10:00Z", "1970-01-01T00:01:00Z"][world.pick(2)];
    world.publish_by_hand(TOPIC, &lock(&order, &buyer, until));
    let pays = async {
        let token = format!("Bearer {}", people::token(&buyer, world.now()));
        for attempt in 0..1 + world.pick(4) {
            world.pause_up_to(Duration::from_secs(40)).await;
            let method = [GOOD, BAD, BAD, NO_REFUND][world.pick(4)];
            let key = format!("{order}-{attempt}");
            let headers = [("idempotency-key", key.as_str()), ("authorization", token.as_str())];
            let body = json!({ "orderId": order, "paymentMethod": method });
            world.insist_with(PAYMENTS, Method::POST, "/payments", &headers, &body).await;
        }
    };
    let ends = async {
        world.pause_up_to(Duration::from_secs(90)).await;
        match world.pick(3) {
            0 => {}
            1 => world.publish_by_hand(TOPIC, &end("ticket-order.cancelled", &order)),
            _ => world.publish_by_hand(TOPIC, &end("ticket-order.expired", &order)),
        }
    };
    futures::join!(pays, ends);
}

/// Compares the gateway with the orders.
async fn check(world: &World) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut paid = BTreeMap::<String, Vec<Value>>::new();
    let mut declined = 0;
    for charge in world.outside("local-payment-gateway/charges").await {
        expect("charged amount", &charge["payment"]["amount"], &price())?;
        if charge["outcome"]["status"] == "paid" {
            paid.entry(text(&charge["payment"]["reference"])).or_default().push(charge);
        } else if !charge["outcome"]["id"].is_null() {
            // The others were called off, so they are cancelled already.
            declined += 1;
        }
    }
    let mut refunds = BTreeMap::<String, Vec<Value>>::new();
    for refund in world.outside("local-payment-gateway/refunds").await {
        refunds.entry(text(&refund["reference"])).or_default().push(refund);
    }
    let kept = world.documents("orders/paid").await;
    for charge in paid.values().flatten() {
        in_time(charge, &world.documents("ticket-payment-service/accounts").await)?;
    }
    for account in world.documents("ticket-payment-service/accounts").await {
        let order = text(&account["orderId"]);
        let charges = paid.remove(&order).unwrap_or_default();
        let refunds = refunds.remove(&order).unwrap_or_default();
        expect(&format!("{order} is charged at most once"), &(charges.len() <= 1), &true)?;
        let is_kept = kept.iter().any(|it| text(&it["order_id"]) == order);
        let due_back = charges.len() - usize::from(is_kept);
        expect(
            &format!("{order} is refunded exactly once if it refused its charge"),
            &refunds.len(),
            &due_back,
        )?;
        let status = match (charges.first(), refunds.first()) {
            (Some(_), Some(refund)) if refund["outcome"]["status"] == "failed" => "refundFailed",
            (Some(_), Some(_)) => "refunded",
            (Some(_), None) => "paid",
            (None, _) if account["attempts"] == 0 => "unpaid",
            (None, _) => "declined",
        };
        expect(&format!("status of {order}"), &text(&account["status"]).as_str(), &status)?;
    }
    expect("charges and refunds of other orders", &(paid.len(), refunds.len()), &(0, 0))?;
    let cancelled = world.documents("ticket-payment-service/declined").await;
    let cancelled = cancelled.iter().filter(|it| it["isCancelled"] == true).count();
    let at_the_gateway = world.outside("local-payment-gateway/cancellations").await.len();
    expect("declined charges that are cancelled", &(cancelled, at_the_gateway), &(declined, declined))?;
    let accounts = world.documents("ticket-payment-service/accounts").await;
    let with = |status: &str| accounts.iter().filter(|it| it["status"] == status).count();
    let mails = world.outside("local-mailbox/mails").await;
    expect("mails", &mails.len(), &with("refunded"))?;
    // Only a refund that failed is a dead letter, and again if it is delivered again.
    let letters: BTreeSet<String> = world.dead_letters().into_iter().map(|(_, data)| data).collect();
    expect("dead letters", &letters.len(), &with("refundFailed"))
}

/// No money is taken after the order's deadline, by the clock of the process that takes it.
pub(crate) fn in_time(charge: &Value, accounts: &[Value]) -> Result<(), String> {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let account = accounts.iter().find(|account| account["orderId"] == charge["payment"]["reference"]);
    let until = account.and_then(|account| time(&account["due"]["until"]));
    let is_in_time = time(&charge["chargedAt"]).zip(until).is_some_and(|(at, until)| at <= until);
    expect(&format!("no charge is made after its deadline {until:?}: {charge}"), &is_in_time, &true)
}

#[test]
fn nobody_is_charged_twice_or_refunded_twice() {
    let counts = simulation::check(&Charges);
    assert!(counts.worlds > 0);
}

#[test]
fn nobody_is_charged_twice_or_refunded_twice_in_every_small_world() {
    let tell = |data: Value| Input::Message { topic: TOPIC, data };
    // In these worlds it is the year 2001.
    let locked = || tell(lock("order-0", "ann", "2001-09-09T03:00:00Z"));
    let pay = |method: &str| Input::Command {
        service: PAYMENTS,
        method: Method::POST,
        path: "/payments",
        token: Some(people::token("ann", EXPLORED_FROM)),
        body: json!({ "orderId": "order-0", "paymentMethod": method }),
    };
    let cancelled = || {
        let mut cancelled = end("ticket-order.cancelled", "order-0");
        cancelled["refund"] = true.into();
        tell(cancelled)
    };
    let refused = || {
        let mut refused = end("ticket-order.charge-refused", "order-0");
        refused["chargeId"] = "local_order-0-1".into();
        tell(refused)
    };
    let revoked = || {
        tell(json!({ "event": "session.revoked", "userId": "bob", "sessionId": "s", "reason": "signedOut" }))
    };
    simulation::explore::<Charges>(
        &[],
        &[
            vec![tell(account("ann")), locked(), pay(GOOD), cancelled()],
            vec![tell(account("ann")), locked(), pay(NO_REFUND), refused()],
            vec![locked(), pay(BAD), tell(end("ticket-order.expired", "order-0")), revoked()],
        ],
    );
}
