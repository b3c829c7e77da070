//! Who gets a ticket, and when it is free again: the rules as sellers and buyers see them.

#[path = "orders/callers.rs"]
mod callers;
mod market;
#[path = "orders/payments.rs"]
mod payments;
mod people;

use std::time::Duration;

use axum::http::Method;
use market::{Market, ORDERS, PAYMENTS, TICKETS, charge, price, refund, text};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const LOCK: Duration = Duration::from_secs(15 * 60);

#[tokio::test(start_paused = true)]
async fn the_first_order_gets_the_ticket_and_pays_what_its_buyer_saw() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let first = text(&market.order("ann", &ticket, 4500).await.1["orderId"]);
    let second = text(&market.order("bob", &ticket, 4500).await.1["orderId"]);
    market.deliver().await;
    assert_eq!(market.status("ann", &first).await, "awaitingPayment");
    assert_eq!(market.status("bob", &second).await, "refused taken");
    let order = market.get("ann", ORDERS, &format!("/orders/{first}")).await;
    let view = market.get("bob", TICKETS, &format!("/tickets/{ticket}")).await;
    assert_eq!((&order["expiresAt"], &order["secondsLeft"]), (&view["until"], &json!(900)));
    assert_eq!((&order["price"], market.listed().await), (&price(4500), Vec::new()));

    market.charge(&first, &ticket, "ch_1").await;
    assert_eq!(market.status("ann", &first).await, "completed");
    assert_eq!((market.state(&ticket).await.as_str(), market.timers()), ("sold", 0));
    let late = market.buy("bob", &ticket).await;
    assert_eq!(market.status("bob", &late).await, "refused taken");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_have_the_ticket_says_why() {
    let market = Market::new();
    let (ticket, withdrawn) = (market.offer("sue", 4500).await, market.offer("sue", 4500).await);
    market.call("sue", TICKETS, Method::DELETE, &format!("/tickets/{withdrawn}"), Value::Null).await;
    for (buyer, ticket, minor, expected) in [
        ("sue", ticket.as_str(), 4500, "refused ownTicket"),
        ("ann", ticket.as_str(), 4400, "refused priceChanged"),
        ("ann", "no-such-ticket", 4500, "refused unknownTicket"),
        ("ann", withdrawn.as_str(), 4500, "refused notForSale"),
    ] {
        let order = text(&market.order(buyer, ticket, minor).await.1["orderId"]);
        market.deliver().await;
        assert_eq!(market.status(buyer, &order).await, expected);
        let changed = &market.get(buyer, ORDERS, &format!("/orders/{order}")).await["changedPrice"];
        assert_eq!(*changed, if minor == 4400 { price(4500) } else { Value::Null });
    }
    let dollars = json!({ "ticketId": ticket, "expectedPrice": { "minor": 4500, "currency": "usd" } });
    let (_, order) = market.call("ann", ORDERS, Method::POST, "/orders", dollars).await;
    market.deliver().await;
    assert_eq!(market.status("ann", &text(&order["orderId"])).await, "refused priceChanged");
    assert_eq!(market.listed().await, [ticket]);
}

#[tokio::test(start_paused = true)]
async fn wrong_fields_are_all_named() {
    let market = Market::new();
    for (service, path, body, expected) in [
        (TICKETS, "/tickets", json!({}), vec!["#/title", "#/price/currency", "#/price/minor"]),
        (
            ORDERS,
            "/orders",
            json!({}),
            vec!["#/ticketId", "#/expectedPrice/currency", "#/expectedPrice/minor"],
        ),
        (TICKETS, "/tickets", json!({ "title": "x", "price": price(0) }), vec!["#/price/minor"]),
        (TICKETS, "/tickets", json!({ "title": "x", "price": price(100_000_000) }), vec!["#/price/minor"]),
        (
            TICKETS,
            "/tickets",
            json!({ "title": "x", "price": { "minor": 1, "currency": "EUR" } }),
            vec!["#/price/currency"],
        ),
    ] {
        let (status, problem) = market.call("ann", service, Method::POST, path, body).await;
        let errors = problem["errors"].as_array().expect("errors");
        let pointers: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
        assert_eq!((status, pointers), (422, expected));
    }
    // Stripe charges no fractions of these currencies.
    for (minor, currency, expected) in [
        (1050, "isk", 422),
        (1100, "isk", 201),
        (1050, "ugx", 422),
        (1055, "kwd", 422),
        (1050, "kwd", 201),
        (1055, "jpy", 201),
    ] {
        let price = json!({ "minor": minor, "currency": currency });
        let body = json!({ "title": "x", "price": price });
        let (status, answer) = market.call("ann", TICKETS, Method::POST, "/tickets", body).await;
        assert_eq!(status, expected, "{minor} {currency}: {answer}");
        let pointer = &answer["errors"][0]["pointer"];
        assert_eq!(*pointer, if expected == 422 { json!("#/price/minor") } else { Value::Null });
    }
    let half = json!({ "title": "x", "price": { "minor": 1.5, "currency": "eur" } });
    assert_eq!(market.call("ann", TICKETS, Method::POST, "/tickets", half).await.0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_order_is_the_same_order_and_a_second_one_is_refused() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let bearer = format!("Bearer {}", people::token("ann", market.now()));
    let body = json!({ "ticketId": ticket, "expectedPrice": price(4500) });
    let order = async |key: &str| {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        market.send(ORDERS, Method::POST, "/orders", &headers, &body).await
    };
    let (first, repeat) = (order("one").await, order("one").await);
    assert_eq!((first.0, &first), (202, &repeat));
    let (status, problem) = order("two").await;
    let names_the_first = text(&problem["detail"]).contains(&text(&first.1["orderId"]));
    assert_eq!((status, names_the_first), (409, true), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_buyer_has_five_live_orders_and_pauses_after_two_expiries() {
    let market = Market::new();
    let mut tickets = Vec::new();
    for _ in 0..6 {
        tickets.push(market.offer("sue", 4500).await);
    }
    let mut orders = Vec::new();
    for ticket in &tickets[..5] {
        orders.push(market.buy("ann", ticket).await);
    }
    assert_eq!(market.order("ann", &tickets[5], 4500).await.0, 409);
    market.cancel("ann", &orders[0]).await;
    market.buy("ann", &tickets[5]).await;
    // All five run out. No timer fires, and the buyer can order again.
    market.wait(LOCK + MINUTE).await;
    assert_eq!(market.order("ann", &tickets[0], 4500).await.0, 202);
    market.fire().await;

    let ticket = tickets[1].as_str();
    market.buy("ann", ticket).await;
    market.wait(LOCK + MINUTE).await;
    market.fire().await;
    assert_eq!(market.order("ann", ticket, 4500).await.0, 429);
    assert_eq!(market.order("bob", ticket, 4500).await.0, 202);
    market.wait(LOCK - 2 * SECOND).await;
    assert_eq!(market.order("ann", ticket, 4500).await.0, 429);
    market.wait(3 * SECOND).await;
    assert_eq!(market.order("ann", ticket, 4500).await.0, 202);
}

#[tokio::test(start_paused = true)]
async fn only_the_seller_changes_a_ticket_and_only_while_it_is_listed() {
    let market = Market::new();
    let ticket = market.offer("sue", 4000).await;
    let path = format!("/tickets/{ticket}");
    let edit = async |user: &str, minor: u64| {
        let body = json!({ "title": "Ghost, Saturday", "price": price(minor) });
        market.call(user, TICKETS, Method::PUT, &path, body).await
    };
    let withdraw = async |user: &str| market.call(user, TICKETS, Method::DELETE, &path, Value::Null).await;
    assert_eq!((edit("ann", 1).await.0, withdraw("ann").await.0), (403, 403));
    let (status, edited) = edit("sue", 4500).await;
    assert_eq!((status, &edited["version"], &edited["price"]), (200, &json!(2), &price(4500)));
    market.deliver().await;
    let announced = &market.heard("ticket.updated")[0];
    assert_eq!((&announced["version"], &announced["price"]), (&json!(2), &price(4500)));

    let order = market.buy("ann", &ticket).await;
    let until = text(&market.get("sue", TICKETS, &path).await["until"]);
    for (status, problem) in [edit("sue", 9900).await, withdraw("sue").await] {
        assert_eq!((status, text(&problem["detail"]).contains(&until)), (409, true), "{problem}");
    }
    // The time has passed, but a charge may be on its way.
    market.wait(LOCK + SECOND).await;
    assert_eq!(edit("sue", 9900).await.0, 409);
    market.charge(&order, &ticket, "ch_1").await;
    let completed = &market.heard("ticket-order.completed")[0];
    assert_eq!(completed["price"], price(4500));
    assert_eq!((edit("sue", 9900).await.0, withdraw("sue").await.0), (409, 409));

    let other = market.offer("sue", 1).await;
    let path = format!("/tickets/{other}");
    for _ in 0..2 {
        let (status, ticket) = market.call("sue", TICKETS, Method::DELETE, &path, Value::Null).await;
        assert_eq!((status, &ticket["state"], &ticket["version"]), (200, &json!("withdrawn"), &json!(2)));
    }
    assert_eq!(edit("sue", 9900).await.0, 409);
}

#[tokio::test(start_paused = true)]
async fn the_list_shows_what_can_be_ordered_page_by_page() {
    let market = Market::new();
    let mut tickets = Vec::new();
    for _ in 0..9 {
        tickets.push(market.offer("sue", 4500).await);
    }
    tickets.sort();
    let sold = market.buy("ann", &tickets[0]).await;
    market.charge(&sold, &tickets[0], "ch_1").await;
    for ticket in &tickets[1..4] {
        market.buy("ann", ticket).await;
    }
    market.call("sue", TICKETS, Method::DELETE, &format!("/tickets/{}", tickets[8]), Value::Null).await;
    assert_eq!(market.listed().await, tickets[4..8]);
    market.wait(LOCK).await;
    assert_eq!(market.listed().await, tickets[1..8]);
    for limit in 1..=8 {
        let (mut found, mut query) = (Vec::new(), format!("/tickets?limit={limit}"));
        loop {
            let page = market.get("anybody", TICKETS, &query).await;
            let items = page["items"].as_array().expect("items");
            assert!((1..=limit).contains(&items.len()), "{page}");
            found.extend(items.iter().map(|ticket| text(&ticket["ticketId"])));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("/tickets?limit={limit}&cursor={next}");
        }
        assert_eq!(found, tickets[1..8], "limit {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_paid_expires_and_the_ticket_is_listed_again() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    market.wait(LOCK + 29 * SECOND).await;
    market.fire().await;
    assert_eq!(market.status("ann", &order).await, "awaitingPayment");
    market.wait(SECOND).await;
    market.fire().await;
    assert_eq!(market.status("ann", &order).await, "expired");
    assert_eq!((market.state(&ticket).await.as_str(), market.timers()), ("listed", 0));
    // A charge comes now.
    market.charge(&order, &ticket, "ch_1").await;
    let refused = market.heard("ticket-order.charge-refused");
    assert_eq!((refused.len(), &refused[0]["chargeId"]), (1, &json!("ch_1")));
    market.refund(&order, &ticket, "ch_1").await;
    assert_eq!(market.status("ann", &order).await, "expired");
    assert_eq!(market.state(&ticket).await, "listed");
}

/// No timer fires in this test.
#[tokio::test(start_paused = true)]
async fn an_order_takes_over_a_lock_that_has_run_out() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let first = market.buy("ann", &ticket).await;
    market.wait(LOCK - SECOND).await;
    let early = market.buy("bob", &ticket).await;
    assert_eq!(market.status("bob", &early).await, "refused taken");
    market.wait(SECOND).await;
    let (status, order) = market.order("bob", &ticket, 4500).await;
    assert_eq!(status, 202);
    // The news of the old order's end comes last.
    let mut events = market.intercept();
    events.sort_by_key(|event| event["event"] == "ticket-order.expired");
    assert_eq!(events.len(), 2, "{events:?}");
    for event in events {
        market.tell(event).await;
    }
    let second = text(&order["orderId"]);
    assert_eq!(market.status("ann", &first).await, "expired");
    assert_eq!(market.status("bob", &second).await, "awaitingPayment");
    market.charge(&first, &ticket, "ch_1").await;
    assert_eq!(market.heard("ticket-order.charge-refused").len(), 1);
    market.charge(&second, &ticket, "ch_2").await;
    assert_eq!(market.status("bob", &second).await, "completed");
    assert_eq!(market.heard("ticket-order.completed").len(), 1);
}

/// A charge may be on its way until the grace has passed.
#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_win_ends_no_other_order_during_the_grace() {
    for (buyer, minor, seconds, answer, expected) in [
        ("bob", 4500, 1, 202, "expired"),
        ("bob", 4400, 1, 202, "awaitingPayment"),
        ("sue", 4500, 1, 202, "awaitingPayment"),
        ("ann", 4500, 1, 409, "awaitingPayment"),
        // This one has five live orders.
        ("dan", 4500, 1, 409, "awaitingPayment"),
        ("bob", 4400, 30, 202, "expired"),
        ("sue", 4500, 30, 202, "expired"),
        ("ann", 4500, 30, 202, "expired"),
    ] {
        let market = Market::new();
        let ticket = market.offer("sue", 4500).await;
        let order = market.buy("ann", &ticket).await;
        market.wait(LOCK / 2).await;
        for _ in 0..5 {
            let other = market.offer("sue", 4500).await;
            market.buy("dan", &other).await;
        }
        market.wait(LOCK / 2 + seconds * SECOND).await;
        let what = format!("{buyer} {minor} {seconds}");
        assert_eq!(market.order(buyer, &ticket, minor).await.0, answer, "{what}");
        market.deliver().await;
        assert_eq!(market.status("ann", &order).await, expected, "{what}");
        market.charge(&order, &ticket, "ch_1").await;
        let expected = if expected == "expired" { "expired" } else { "completed" };
        assert_eq!(market.status("ann", &order).await, expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn old_news_of_a_ticket_changes_nothing() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    market.buy("ann", &ticket).await;
    let locked = market.heard("ticket.updated")[0].clone();
    market.wait(LOCK + SECOND).await;
    market.buy("bob", &ticket).await;
    // The news of the first lock comes once more, in another message.
    market.tell(locked).await;
    market.wait(LOCK + SECOND).await;
    let third = market.buy("cy", &ticket).await;
    assert_eq!(
        market.status("cy", &third).await,
        "awaitingPayment",
        "it takes over the lock that has run out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_charge_counts_until_the_grace_has_passed_even_if_no_timer_fires() {
    for (after, expected) in
        [(Duration::ZERO, "completed"), (29 * SECOND, "completed"), (30 * SECOND, "expired")]
    {
        let market = Market::new();
        let ticket = market.offer("sue", 4500).await;
        let order = market.buy("ann", &ticket).await;
        market.wait(LOCK + after).await;
        market.charge(&order, &ticket, "ch_1").await;
        assert_eq!(market.status("ann", &order).await, expected, "{after:?}");
        let refused = market.heard("ticket-order.charge-refused").len();
        assert_eq!(refused, usize::from(expected == "expired"), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_ends_only_the_order_that_it_belongs_to() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    let due = |until: &Value| json!({ "event": "ticket-order.expiry-due", "orderId": order, "until": until });
    // One for another deadline, and then one that is early.
    market.tell(due(&json!("2026-11-20T12:14:59Z"))).await;
    assert_eq!(market.status("ann", &order).await, "awaitingPayment");
    let until = market.get("ann", ORDERS, &format!("/orders/{order}")).await["expiresAt"].clone();
    market.tell(due(&until)).await;
    assert_eq!(market.status("ann", &order).await, "expired");
    // It comes again, when somebody else has the ticket.
    let other = market.buy("bob", &ticket).await;
    market.tell(due(&until)).await;
    market.tell(json!({ "event": "ticket-order.expired", "orderId": order, "ticketId": ticket })).await;
    assert_eq!(market.status("bob", &other).await, "awaitingPayment");
    assert_eq!(market.state(&ticket).await, "locked");
    assert_eq!(market.heard("ticket-order.expired").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_buyer_cancels_before_paying() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    for _ in 0..2 {
        let (status, order) = market.cancel("ann", &order).await;
        assert_eq!((status, &order["status"]), (200, &json!("cancelled")));
        market.deliver().await;
    }
    assert_eq!(market.heard("ticket-order.cancelled").len(), 1);
    assert_eq!((market.state(&ticket).await.as_str(), market.timers()), ("listed", 0));
    market.charge(&order, &ticket, "ch_1").await;
    assert_eq!(market.status("ann", &order).await, "cancelled");
    assert_eq!(market.heard("ticket-order.charge-refused").len(), 1);
    let again = market.buy("ann", &ticket).await;
    assert_eq!(market.status("ann", &again).await, "awaitingPayment");
}

/// The time counts, and not the number of orders.
#[tokio::test(start_paused = true)]
async fn a_buyer_who_holds_a_ticket_for_two_locks_and_does_not_buy_it_has_to_pause() {
    let cancel = async |market: &Market, _: &str, order: &str| drop(market.cancel("ann", order).await);
    for (lock_minutes, after, orders) in [
        (15, 10 * SECOND, 180),
        (15, MINUTE, 30),
        (15, 119 * SECOND, 16),
        (15, 14 * MINUTE, 3),
        (15, LOCK + SECOND, 2),
        (1, 59 * SECOND, 3),
        (1, MINUTE, 2),
    ] {
        let found = orders_before_a_pause(lock_minutes, after, cancel).await;
        assert_eq!(found, orders, "{lock_minutes} {after:?}");
    }
    let give_back = async |market: &Market, ticket: &str, order: &str| {
        market.charge(order, ticket, &format!("charge-of-{order}")).await;
        market.cancel("ann", order).await;
        market.deliver().await;
        market.refund(order, ticket, &format!("charge-of-{order}")).await;
    };
    assert_eq!(orders_before_a_pause(15, SECOND, give_back).await, 2);
}

/// How often a buyer can order the same ticket at once again, if each order ends like this after this time.
async fn orders_before_a_pause(
    lock_minutes: u32,
    after: Duration,
    end: impl AsyncFn(&Market, &str, &str),
) -> usize {
    let market = Market::of(&[PAYMENTS], lock_minutes);
    let ticket = market.offer("sue", 4500).await;
    for orders in 0..200 {
        let (status, order) = market.order("ann", &ticket, 4500).await;
        if status == 429 {
            return orders;
        }
        market.deliver().await;
        market.wait(after).await;
        end(&market, &ticket, &text(&order["orderId"])).await;
        market.deliver().await;
        assert_eq!(market.state(&ticket).await, "listed");
    }
    200
}

#[tokio::test(start_paused = true)]
async fn a_buyer_gives_a_paid_ticket_back_and_it_is_listed_after_the_refund() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    market.charge(&order, &ticket, "ch_1").await;
    // A second charge is refunded, and that is no news about the ticket.
    market.charge(&order, &ticket, "ch_2").await;
    assert_eq!(market.heard("ticket-order.charge-refused")[0]["chargeId"], "ch_2");
    market.refund(&order, &ticket, "ch_2").await;
    assert_eq!(market.state(&ticket).await, "sold");

    let (status, view) = market.cancel("ann", &order).await;
    assert_eq!((status, &view["status"]), (200, &json!("refunding")));
    market.cancel("ann", &order).await;
    market.deliver().await;
    let cancelled = market.heard("ticket-order.cancelled");
    assert_eq!((cancelled.len(), &cancelled[0]["refund"]), (1, &json!(true)));
    assert_eq!(cancelled[0]["chargeId"], "ch_1");
    assert_eq!(market.state(&ticket).await, "sold", "the other refund does not count");
    let failed =
        json!({ "event": "charge.refund-failed", "orderId": order, "chargeId": "ch_1", "code": "card_gone" });
    market.tell(failed).await;
    assert_eq!(market.status("ann", &order).await, "refunding card_gone");
    market.refund(&order, &ticket, "ch_1").await;
    assert_eq!(market.status("ann", &order).await, "refunded");
    assert_eq!(market.state(&ticket).await, "listed");
}

/// An earlier version of the service published it.
#[tokio::test(start_paused = true)]
async fn after_a_cancellation_that_names_no_charge_any_refund_counts() {
    let market = Market::without(&[PAYMENTS, ORDERS]);
    let ticket = market.offer("sue", 4500).await;
    let created = json!({
        "event": "ticket-order.created", "orderId": "order-1", "ticketId": ticket, "buyer": "ann",
        "expectedPrice": price(4500),
    });
    market.tell(created).await;
    let event = "ticket-order.cancelled";
    let cancelled =
        json!({ "event": event, "orderId": "order-1", "ticketId": ticket, "by": "ann", "refund": true });
    market.tell(cancelled).await;
    assert_eq!(market.state(&ticket).await, "locked");
    market.refund("order-1", &ticket, "ch_1").await;
    assert_eq!(market.state(&ticket).await, "listed");
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_ticket_before_its_money_is_given_back() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    market.charge(&order, &ticket, "ch_1").await;
    market.cancel("ann", &order).await;
    market.deliver().await;
    assert_eq!(market.state(&ticket).await, "sold");
    market.refund(&order, &ticket, "ch_1").await;
    assert_eq!(market.state(&ticket).await, "listed");
}

#[tokio::test(start_paused = true)]
async fn a_paid_ticket_is_final_after_a_day() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    market.charge(&order, &ticket, "ch_1").await;
    market.wait(Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(market.cancel("ann", &order).await.0, 409);
    assert_eq!(market.status("ann", &order).await, "completed");
}

#[tokio::test(start_paused = true)]
async fn a_declined_charge_leaves_the_order_open() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    market.tell(json!({ "event": "charge.declined", "orderId": order, "code": "insufficient_funds" })).await;
    assert_eq!(market.status("ann", &order).await, "awaitingPayment insufficient_funds");
    let other = json!({
        "event": "charge.created", "orderId": order, "ticketId": ticket, "chargeId": "ch_1", "amount": price(4400),
    });
    market.tell(other).await;
    assert_eq!(market.heard("ticket-order.charge-refused").len(), 1);
    market.refund(&order, &ticket, "ch_1").await;
    assert_eq!(market.state(&ticket).await, "locked");
    market.charge(&order, &ticket, "ch_2").await;
    assert_eq!(market.status("ann", &order).await, "completed");
}

/// Plays stories, and delivers their events in many orders: the results are the same.
#[tokio::test(start_paused = true)]
async fn events_may_arrive_in_any_order() {
    #[derive(Clone, Copy, Debug)]
    enum End {
        Paid,
        Cancelled,
        Expired,
        GivenBack,
    }
    for (end, order_is, ticket_is) in [
        (End::Paid, "completed", "sold"),
        (End::Cancelled, "cancelled", "listed"),
        (End::Expired, "expired", "listed"),
        (End::GivenBack, "refunded", "listed"),
    ] {
        for seed in 0..24 {
            let market = Market::new();
            let ticket = market.offer("sue", 4500).await;
            market.deliver().await;
            let order = text(&market.order("ann", &ticket, 4500).await.1["orderId"]);
            let mut held = market.intercept();
            let until = market.now() + LOCK;
            if !matches!(end, End::Cancelled) {
                // The order has not heard of its lock yet.
                market.push(&held.remove(0)).await;
                held.extend(market.intercept());
            }
            match end {
                End::Paid | End::GivenBack => market.push(&charge(&order, &ticket, "ch_1")).await,
                End::Cancelled => drop(market.cancel("ann", &order).await),
                End::Expired => {
                    let due = json!({ "event": "ticket-order.expiry-due", "orderId": order, "until": until });
                    market.push(&due).await;
                }
            }
            if let End::GivenBack = end {
                market.cancel("ann", &order).await;
                held.push(refund(&order, &ticket, "ch_1"));
            }
            held.extend(market.intercept());
            let mut turns = seed;
            while !held.is_empty() {
                let next = held.remove(turns % held.len());
                turns /= 2;
                market.push(&next).await;
                held.extend(market.intercept());
            }
            assert_eq!(market.status("ann", &order).await, order_is, "{end:?} {seed}");
            assert_eq!(market.state(&ticket).await, ticket_is, "{end:?} {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_exists_only_for_its_buyer() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    let path = format!("/orders/{order}");
    for user in ["bob", "sue"] {
        for (method, path) in [(Method::GET, &path), (Method::DELETE, &path)] {
            let theirs = market.call(user, ORDERS, method.clone(), path, Value::Null).await;
            let nobodys = market.call(user, ORDERS, method, "/orders/none", Value::Null).await;
            assert_eq!((theirs.0, &theirs), (404, &nobodys));
        }
        assert_eq!(market.get(user, ORDERS, "/orders").await["items"], json!([]));
    }
    let own = market.get("ann", ORDERS, "/orders").await;
    assert_eq!(own["items"][0]["orderId"], order.as_str());
    let shown = market.get("bob", TICKETS, &format!("/tickets/{ticket}")).await.to_string();
    assert!(!shown.contains("ann") && !shown.contains(&order), "{shown}");
    for (service, method, path) in [
        (TICKETS, Method::POST, "/tickets"),
        (TICKETS, Method::PUT, "/tickets/x"),
        (TICKETS, Method::DELETE, "/tickets/x"),
        (ORDERS, Method::POST, "/orders"),
        (ORDERS, Method::GET, "/orders"),
        (ORDERS, Method::GET, "/orders/x"),
        (ORDERS, Method::DELETE, "/orders/x"),
    ] {
        assert_eq!(market.send(service, method, path, &[], &json!({})).await.0, 401, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_ended_changes_nothing() {
    let market = Market::new();
    let ticket = market.offer("sue", 4500).await;
    let order = market.buy("ann", &ticket).await;
    for user in ["ann", "sue"] {
        let session = format!("session-of-{user}");
        market
            .tell(json!({ "event": "session.revoked", "userId": user, "sessionId": session, "reason": "signedOut" }))
            .await;
    }
    let body = json!({ "title": "x", "price": price(1) });
    assert_eq!(market.call("sue", TICKETS, Method::POST, "/tickets", body.clone()).await.0, 401);
    assert_eq!(market.call("sue", TICKETS, Method::PUT, &format!("/tickets/{ticket}"), body).await.0, 401);
    let path = format!("/tickets/{ticket}");
    assert_eq!(market.call("sue", TICKETS, Method::DELETE, &path, Value::Null).await.0, 401);
    assert_eq!(market.order("ann", &ticket, 4500).await.0, 401);
    assert_eq!(market.cancel("ann", &order).await.0, 401);
    assert_eq!(market.status("ann", &order).await, "awaitingPayment");
}
