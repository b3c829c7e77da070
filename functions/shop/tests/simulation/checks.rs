//! The rules of the shop, once a world has settled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use serde_json::{Value, json};
use simulation::World;

use crate::{CANNOT_PAY, Order, Placed, STOCK};

/// Each order ends exactly once, and order-api and order-service agree on its status.
pub(crate) async fn ends(world: &World, orders: &Placed) -> Result<(), String> {
    for order in world.documents("order-service/orders").await {
        let id = text(&order["orderId"]);
        let shown = orders.get(&id).ok_or("an order that nobody placed")?;
        expect("status", &shown.status, &text(&order["status"]))?;
    }
    expect("orders at order-service", &world.documents("order-service/orders").await.len(), &orders.len())?;
    for (id, order) in orders {
        let is_end = ["completed", "cancelled", "rejected"].contains(&order.status.as_str());
        expect(&format!("{id} is {}, an end", order.status), &is_end, &true)?;
    }
    // No order is rejected or cancelled without a reason.
    let wanted = |sku| -> i64 {
        orders.values().flat_map(|order| order.lines).filter(|line| line.0 == sku).map(|line| line.1).sum()
    };
    let stock = |sku| STOCK.iter().find(|product| product.0 == sku).map_or(0, |product| product.1);
    for Order { email, lines, status, .. } in orders.values() {
        let may_be_short = lines.iter().any(|(sku, _)| wanted(*sku) > stock(*sku));
        let can_pay = *email != CANNOT_PAY;
        let is_possible = match status.as_str() {
            "completed" => can_pay && lines.iter().all(|(sku, _)| stock(*sku) > 0),
            "cancelled" => !can_pay,
            _ => may_be_short,
        };
        expect(&format!("the order of {email} may be {status}"), &is_possible, &true)?;
    }
    Ok(())
}

/// All stock is free or sold. The sold pieces are those of the completed orders.
pub(crate) async fn stock(world: &World, orders: &Placed) -> Result<(), String> {
    let products = world.get("order-service", "/products").await.body;
    let items = products["items"].as_array().cloned().unwrap_or_default();
    let found: Vec<(String, Value)> =
        items.iter().map(|item| (text(&item["sku"]), item["stock"].clone())).collect();
    let expected = STOCK.map(|(sku, stock)| {
        let completed = orders.values().filter(|order| order.status == "completed");
        let lines = completed.flat_map(|order| order.lines).filter(|line| line.0 == sku);
        let sold: i64 = lines.map(|line| line.1).sum();
        (sku.to_owned(), json!({ "free": stock - sold, "held": 0, "sold": sold }))
    });
    expect("stock", &found, &expected.into())
}

/// Each order that took its stock has one charge, and the other orders have none.
pub(crate) async fn charges(world: &World, orders: &Placed) -> Result<(), String> {
    let charges = world.outside("local-payment-gateway/charges").await;
    let charge = |charge: &Value| (text(&charge["payment"]["reference"]), text(&charge["outcome"]["status"]));
    let mut found: Vec<_> = charges.iter().map(charge).collect();
    found.sort();
    let expected = orders.iter().filter_map(|(id, order)| match order.status.as_str() {
        "completed" => Some((id.clone(), "paid".to_owned())),
        "cancelled" => Some((id.clone(), "declined".to_owned())),
        _ => None,
    });
    expect("charges", &found, &expected.collect())
}

/// Each order has one mail: the invoice, the cancellation or the rejection.
pub(crate) async fn mails(world: &World, orders: &Placed) -> Result<(), String> {
    let mails = world.outside("local-mailbox/mails").await;
    let mut found: Vec<String> = mails.iter().map(|mail| text(&mail["subject"])).collect();
    found.sort();
    let mut expected: Vec<String> = orders
        .iter()
        .map(|(id, order)| match order.status.as_str() {
            "completed" => format!("Your invoice {}", order.invoice),
            "cancelled" => format!("Your order {id} is cancelled"),
            _ => format!("We cannot deliver your order {id}"),
        })
        .collect();
    expected.sort();
    expect("mails", &found, &expected)
}

/// Each completed order has one invoice, and each number of a year exists once.
pub(crate) async fn invoices(world: &World, orders: &Placed) -> Result<(), String> {
    let invoices = world.documents("invoice-service/invoices").await;
    let mut found: Vec<_> =
        invoices.iter().map(|invoice| (text(&invoice["orderId"]), text(&invoice["number"]))).collect();
    found.sort();
    let completed = orders.iter().filter(|(_, order)| order.status == "completed");
    expect("invoices", &found, &completed.map(|(id, order)| (id.clone(), order.invoice.clone())).collect())?;

    let mut years = BTreeMap::<String, BTreeSet<u32>>::new();
    for invoice in &invoices {
        let number = text(&invoice["number"]);
        let (year, number) = number.rsplit_once('-').ok_or("an invoice without a year")?;
        expect("year", &text(&invoice["issuedAt"]).starts_with(year), &true)?;
        let is_new =
            years.entry(year.to_owned()).or_default().insert(number.parse().map_err(|_| "no number")?);
        expect(&format!("{number} of {year} is there once"), &is_new, &true)?;
    }
    for (year, numbers) in years {
        expect(&format!("numbers of {year}"), &numbers, &(1..=numbers.len() as u32).collect())?;
    }
    Ok(())
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(i64::MIN)
}

pub(crate) fn expect<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}
