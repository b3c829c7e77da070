//! Buyers pay their orders, as they see it.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::market::{self, Market, PAYMENTS, Trouble};

const GOOD: &str = "pm_card_visa";
const BAD: &str = "pm_card_visa_chargeDeclinedInsufficientFunds";
const MINUTE: Duration = Duration::from_secs(60);

/// A market in which somebody has ordered a ticket for 4500 and has not paid.
struct Order {
    market: Market,
    ticket: String,
    id: String,
}

impl Order {
    async fn new() -> Self {
        Self::of("ann").await
    }

    /// Only ann's address is known.
    async fn of(buyer: &str) -> Self {
        let market = Market::without(&[]);
        market.tell(json!({ "event": "account.created", "userId": "ann", "email": "ann@example.com" })).await;
        let ticket = market.offer("sue", 4500).await;
        let id = market.buy(buyer, &ticket).await;
        Self { market, ticket, id }
    }

    /// The status of the answer. Nothing is delivered yet.
    async fn pay(&self, user: &str, method: &str) -> u16 {
        let body = json!({ "orderId": self.id, "paymentMethod": method });
        self.market.call(user, PAYMENTS, Method::POST, "/payments", body).await.0
    }

    async fn payment(&self, user: &str) -> (u16, Value) {
        let path = format!("/payments/{}", self.id);
        self.market.call(user, PAYMENTS, Method::GET, &path, Value::Null).await
    }

    /// The status of the payment, of the order and of the ticket.
    async fn statuses(&self) -> [String; 3] {
        let payment = self.payment("ann").await.1;
        let order = self.market.status("ann", &self.id).await;
        [market::text(&payment["status"]), order, self.market.state(&self.ticket).await]
    }

    fn mails(&self) -> usize {
        self.market.heard("ticket-refund.mail-due").len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_buyer_pays_once_and_gets_the_ticket() {
    let order = Order::new().await;
    assert_eq!(order.statuses().await, ["unpaid", "awaitingPayment", "locked"]);
    assert_eq!(order.pay("ann", GOOD).await, 202);
    assert_eq!(order.payment("ann").await.1["status"], "pending");
    assert_eq!(order.pay("ann", GOOD).await, 409, "one attempt at a time");
    order.market.deliver().await;
    assert_eq!(order.statuses().await, ["paid", "completed", "sold"]);
    assert_eq!(order.payment("ann").await.1["amount"], market::price(4500));
    assert_eq!(order.pay("ann", GOOD).await, 409, "it is paid");
    assert_eq!(order.market.heard("charge.created").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_decline_another_card_can_pay() {
    let order = Order::new().await;
    order.pay("ann", BAD).await;
    order.market.deliver().await;
    assert_eq!(order.statuses().await[0], "declined");
    assert_eq!(order.payment("ann").await.1["code"], "insufficient_funds");
    assert_eq!(order.pay("ann", GOOD).await, 202);
    order.market.deliver().await;
    assert_eq!(order.statuses().await, ["paid", "completed", "sold"]);
    assert_eq!(order.payment("ann").await.1["attempts"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_payment_exists_only_for_its_buyer() {
    let order = Order::new().await;
    for user in ["bob", "sue"] {
        assert_eq!(order.pay(user, GOOD).await, 404, "{user}");
        assert_eq!(order.payment(user).await.0, 404, "{user}");
    }
    let (status, _) = order.market.send(PAYMENTS, Method::POST, "/payments", &[], &json!({})).await;
    assert_eq!(status, 401);
    assert_eq!(order.statuses().await[0], "unpaid");
}

#[tokio::test(start_paused = true)]
async fn no_charge_starts_in_the_last_20_seconds() {
    // The request comes too late, or its charge does.
    for (before, answer, status) in [(19, 409, "unpaid"), (21, 202, "declined")] {
        let order = Order::new().await;
        order.market.wait(15 * MINUTE - Duration::from_secs(before)).await;
        assert_eq!(order.pay("ann", GOOD).await, answer, "{before} s before the end");
        order.market.wait(Duration::from_secs(2)).await;
        order.market.deliver().await;
        assert_eq!(order.statuses().await[0], status, "{before} s before the end");
        assert_eq!(order.market.heard("charge.created").len(), 0);
    }
}

/// A charge begins a minute before the deadline. Then it is delivered again after the deadline.
#[tokio::test(start_paused = true)]
async fn a_charge_that_began_in_time_takes_no_money_late() {
    for (trouble, late_seconds, statuses) in [
        (Trouble::NotMade, 10, ["declined", "awaitingPayment too_late", "locked"]),
        (Trouble::NotMade, 40, ["declined", "awaitingPayment too_late", "locked"]),
        // It was made in time. The order takes it if the grace has not passed.
        (Trouble::NoAnswer, 10, ["paid", "completed", "sold"]),
        (Trouble::NoAnswer, 40, ["refunded", "expired", "listed"]),
    ] {
        let order = Order::new().await;
        order.market.wait(14 * MINUTE).await;
        assert_eq!(order.pay("ann", GOOD).await, 202);
        let due = order.market.intercept().remove(0);
        order.market.gateway.set(Some(trouble));
        assert_eq!(order.market.push_to(PAYMENTS, &due, "due").await, 503);
        order.market.gateway.set(None);
        order.market.wait(MINUTE + Duration::from_secs(late_seconds)).await;
        assert_eq!(order.market.push_to(PAYMENTS, &due, "due").await, 204);
        order.market.deliver().await;
        assert_eq!(order.statuses().await, statuses, "{trouble:?} {late_seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_has_ended_cannot_be_paid() {
    // The order ends before the request, or between the request and the charge.
    for (pays_first, answer, status) in [(false, 409, "unpaid"), (true, 202, "declined")] {
        let order = Order::new().await;
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        if pays_first {
            answers.push(order.pay("ann", GOOD).await);
            waiting = order.market.intercept();
        }
        order.market.cancel("ann", &order.id).await;
        order.market.deliver().await;
        for event in &waiting {
            order.market.tell(event.clone()).await;
        }
        if !pays_first {
            answers.push(order.pay("ann", GOOD).await);
        }
        assert_eq!(answers, [answer]);
        assert_eq!(order.statuses().await, [status, "cancelled", "listed"]);
    }
}

/// The charge is made, but its order has ended by the time it hears of it.
#[tokio::test(start_paused = true)]
async fn a_charge_that_comes_after_the_end_is_refunded() {
    let order = Order::new().await;
    order.pay("ann", GOOD).await;
    for event in order.market.intercept() {
        order.market.push(&event).await;
    }
    let charged = order.market.intercept();
    order.market.cancel("ann", &order.id).await;
    order.market.deliver().await;
    assert_eq!(order.statuses().await, ["paid", "cancelled", "listed"]);
    for event in charged {
        order.market.tell(event).await;
    }
    assert_eq!(order.statuses().await, ["refunded", "cancelled", "listed"]);
    assert_eq!((order.market.heard("charge.refunded").len(), order.mails()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_paid_order_that_is_cancelled_is_refunded_before_the_ticket_is_listed() {
    let order = Order::new().await;
    order.pay("ann", GOOD).await;
    order.market.deliver().await;
    order.market.cancel("ann", &order.id).await;
    assert_eq!(order.statuses().await[1..], ["refunding", "sold"]);
    order.market.deliver().await;
    assert_eq!(order.statuses().await, ["refunded", "refunded", "listed"]);
    assert_eq!((order.market.heard("charge.refunded").len(), order.mails()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_refunds_the_charge_that_it_names_and_no_other() {
    let order = Order::new().await;
    order.pay("ann", GOOD).await;
    order.market.deliver().await;
    let cancelled = |charge: Value| {
        json!({
            "event": "ticket-order.cancelled", "orderId": order.id, "ticketId": order.ticket, "by": "ann",
            "refund": true, "chargeId": charge,
        })
    };
    order.market.tell(cancelled(json!("another"))).await;
    assert_eq!(order.statuses().await[0], "paid");
    // An earlier version of the service names no charge.
    order.market.tell(cancelled(Value::Null)).await;
    assert_eq!(order.statuses().await[0], "refunded");
}

#[tokio::test(start_paused = true)]
async fn the_mail_about_a_refund_waits_for_the_address() {
    let order = Order::of("bob").await;
    order.pay("bob", GOOD).await;
    order.market.deliver().await;
    order.market.cancel("bob", &order.id).await;
    order.market.deliver().await;
    assert_eq!((order.market.heard("charge.refunded").len(), order.mails()), (1, 0));
    for _ in 0..2 {
        order
            .market
            .tell(json!({ "event": "account.created", "userId": "bob", "email": "bob@example.com" }))
            .await;
        assert_eq!(order.mails(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_ended_cannot_pay() {
    let order = Order::new().await;
    let revoked = json!({
        "event": "session.revoked", "userId": "ann", "sessionId": "session-of-ann", "reason": "signedOut",
    });
    order.market.tell(revoked).await;
    assert_eq!(order.pay("ann", GOOD).await, 401);
}

#[tokio::test(start_paused = true)]
async fn every_wrong_field_is_named() {
    let order = Order::new().await;
    for (body, wrong) in [
        (json!({}), &["#/orderId", "#/paymentMethod"][..]),
        (json!({ "orderId": "/", "paymentMethod": GOOD }), &["#/orderId"]),
        (json!({ "orderId": order.id, "paymentMethod": "4242-4242-4242-4242" }), &["#/paymentMethod"]),
    ] {
        let (status, answer) = order.market.call("ann", PAYMENTS, Method::POST, "/payments", body).await;
        let found: Vec<&str> = answer["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|it| it["pointer"].as_str())
            .collect();
        assert_eq!((status, found.as_slice()), (422, wrong), "{answer}");
    }
}
