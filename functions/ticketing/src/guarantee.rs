//! The counts of this system that must agree once all events are handled.

use pushbox::{
    audit::{Balance, documents},
    store::{Store, StoreError, Stored},
};

/// Each sold ticket has one order that has paid for it. A ticket stays sold while its money is on the way back.
///
/// # Errors
/// The store fails.
pub async fn balances(store: &dyn Store) -> Result<Vec<Balance>, StoreError> {
    let is_sold = |ticket: &&Stored| ticket.fields.get("state").is_some_and(|state| state["is"] == "sold");
    let has_paid = |order: &&Stored| {
        let status = order.fields.get("status").and_then(|status| status.as_str());
        matches!(status, Some("completed" | "refunding"))
    };
    let tickets = documents(store, "ticket-service", "tickets").await?;
    let orders = documents(store, "ticket-order-service", "orders").await?;
    let terms = vec![
        ("sold tickets", tickets.iter().filter(is_sold).count() as u64),
        ("paid orders", orders.iter().filter(has_paid).count() as u64),
    ];
    let balance = Balance::equal("Every sold ticket has one paid order.", terms);
    Ok(vec![balance.counted_from(&[&tickets, &orders])])
}
