//! The counts of this system that must agree.

use pushbox::{
    audit::{Balance, documents},
    store::{Store, StoreError, Stored},
};

/// The stock that is taken is held for an order or sold, and the invoices of each year have the numbers from 1 to the
/// last one.
///
/// # Errors
/// The store fails.
pub async fn balances(store: &dyn Store) -> Result<Vec<Balance>, StoreError> {
    Ok(vec![stock(store).await?, invoices(store).await?])
}

/// The taken pieces, by two ways of counting: those that the stock has given away, and those of the orders that hold
/// or have bought them.
async fn stock(store: &dyn Store) -> Result<Balance, StoreError> {
    let taken: u64 =
        documents(store, "order-service", "stock").await?.iter().map(|stock| number(stock, "taken")).sum();
    let (mut held, mut sold) = (0, 0);
    let orders = documents(store, "order-service", "orders").await?;
    for order in &orders {
        let pieces = order.fields.get("lines").and_then(|value| value.as_array()).into_iter().flatten();
        let pieces: u64 = pieces.filter_map(|line| line["quantity"].as_u64()).sum();
        match order.fields.get("status").and_then(|value| value.as_str()) {
            Some("awaitingPayment") => held += pieces,
            Some("completed") => sold += pieces,
            _ => {}
        }
    }
    let terms = vec![("taken", taken), ("held", held), ("sold", sold)];
    Ok(Balance::sum("Every piece that left the stock is held or sold.", terms).counted_from(&[&orders]))
}

async fn invoices(store: &dyn Store) -> Result<Balance, StoreError> {
    let written = documents(store, "invoice-service", "invoices").await?.len() as u64;
    let last: u64 =
        documents(store, "invoice-service", "years").await?.iter().map(|year| number(year, "last")).sum();
    Ok(Balance::equal(
        "The numbers of the invoices have no gap.",
        vec![("invoices", written), ("last number", last)],
    ))
}

fn number(document: &Stored, field: &str) -> u64 {
    document.fields.get(field).and_then(|value| value.as_u64()).unwrap_or_default()
}
