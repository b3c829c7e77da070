//! The view of an order for its customer.

use axum::{Json, extract::Path};
use events::{InvoiceNumber, OrderId};
use pushbox::{Documents, Problem};
use serde::Serialize;

use super::{
    Order,
    facts::{Fact, HistoryEntry, Status, history},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderView {
    #[serde(flatten)]
    order: Order,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<InvoiceNumber>,
    /// The oldest entry first.
    history: Vec<HistoryEntry>,
}

pub(super) async fn order(documents: Documents, Path(id): Path<OrderId>) -> Result<Json<OrderView>, Problem> {
    let order = documents.get(id.as_str()).await?.ok_or_else(|| Problem::not_found("order"))?;
    let history = history(&documents, &id).await?;
    let invoice = history.iter().find_map(|entry| match &entry.fact {
        Fact::Invoiced { invoice } => Some(invoice.clone()),
        _ => None,
    });
    Ok(Json(OrderView { order, status: Status::of(&history), invoice, history }))
}
