//! The facts of an order: one for each event about it. The status follows from the facts.

use events::{
    InvoiceCreated, InvoiceNumber, OrderCancelled, OrderId, OrderPersisted, OrderRejected, PaymentFailed,
    PaymentSucceeded, RejectedLine,
};
use jiff::Timestamp;
use pushbox::{Context, Created, Document, Documents, Event, Failure};
use serde::{Deserialize, Serialize};

/// An event about an order, with the data that the view keeps of it. A new variant does not compile
/// until it has an event type and a status.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event")]
pub(super) enum Fact {
    #[serde(rename = "order.persisted")]
    Persisted,
    #[serde(rename = "order.rejected")]
    Rejected { rejected: Vec<RejectedLine> },
    #[serde(rename = "payment.succeeded")]
    Paid,
    #[serde(rename = "payment.failed")]
    PaymentFailed { code: String },
    #[serde(rename = "order.cancelled")]
    Cancelled,
    #[serde(rename = "invoice.created")]
    Invoiced { invoice: InvoiceNumber },
}

/// In the order of an order's life: a later status outweighs an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Status {
    Received,
    AwaitingPayment,
    PaymentFailed,
    Cancelled,
    Completed,
    Rejected,
}

/// The document of a fact. Each fact has its own document, so the facts can arrive in any order, and
/// none waits for another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredFact {
    order_id: OrderId,
    #[serde(flatten)]
    entry: HistoryEntry,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HistoryEntry {
    #[serde(flatten)]
    pub(super) fact: Fact,
    at: Timestamp,
}

impl Fact {
    /// The type of the event that tells this fact.
    fn event_type(&self) -> &'static str {
        match self {
            Self::Persisted => OrderPersisted::TYPE,
            Self::Rejected { .. } => OrderRejected::TYPE,
            Self::Paid => PaymentSucceeded::TYPE,
            Self::PaymentFailed { .. } => PaymentFailed::TYPE,
            Self::Cancelled => OrderCancelled::TYPE,
            Self::Invoiced { .. } => InvoiceCreated::TYPE,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Persisted => Status::AwaitingPayment,
            Self::Rejected { .. } => Status::Rejected,
            Self::Paid | Self::Invoiced { .. } => Status::Completed,
            Self::PaymentFailed { .. } => Status::PaymentFailed,
            Self::Cancelled => Status::Cancelled,
        }
    }
}

impl Status {
    /// The status that a set of facts amounts to, in whatever order they arrived.
    pub(super) fn of(history: &[HistoryEntry]) -> Self {
        history.iter().map(|entry| entry.fact.status()).max().unwrap_or(Self::Received)
    }
}

pub(super) async fn note(order_id: OrderId, fact: Fact, cx: Context) -> Result<(), Failure> {
    let entry = HistoryEntry { fact, at: cx.occurred_at() };
    // The first event of a type counts. Another one, for example published by hand, changes nothing.
    let (Created::New | Created::Exists) = cx.create(&StoredFact { order_id, entry });
    Ok(())
}

/// How many facts are read at once. An order seldom has more than three.
const FACTS_PER_READ: usize = 6;

/// All facts of an order, the oldest first.
pub(super) async fn history(documents: &Documents, id: &OrderId) -> Result<Vec<HistoryEntry>, Failure> {
    let mut history = Vec::new();
    let mut after = StoredFact::id_of(id, "");
    loop {
        let found: Vec<StoredFact> = documents.after(&after, FACTS_PER_READ).await?;
        let is_last = found.len() < FACTS_PER_READ || found.iter().any(|fact| fact.order_id != *id);
        for fact in found.into_iter().filter(|fact| fact.order_id == *id) {
            after = fact.id();
            history.push(fact.entry);
        }
        if is_last {
            history.sort_by_key(|entry: &HistoryEntry| entry.at);
            return Ok(history);
        }
    }
}

impl StoredFact {
    /// The id of an order has no `+`, so the facts of an order stand together.
    fn id_of(order_id: &OrderId, event_type: &str) -> String {
        format!("{order_id}+{event_type}")
    }
}

impl Document for StoredFact {
    const COLLECTION: &'static str = "facts";
    fn id(&self) -> String {
        Self::id_of(&self.order_id, self.entry.fact.event_type())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> [Fact; 6] {
        let (code, invoice) = ("expired_card".to_owned(), "2026-000001".parse().expect("a number"));
        [
            Fact::Persisted,
            Fact::Rejected { rejected: Vec::new() },
            Fact::Paid,
            Fact::PaymentFailed { code },
            Fact::Cancelled,
            Fact::Invoiced { invoice },
        ]
    }

    #[test]
    fn the_status_does_not_depend_on_the_order_of_the_events() {
        for (events, expected) in [
            (&[][..], Status::Received),
            (&["order.persisted"], Status::AwaitingPayment),
            (&["order.rejected"], Status::Rejected),
            (&["payment.failed", "order.persisted"], Status::PaymentFailed),
            (&["order.cancelled"], Status::Cancelled),
            (&["order.persisted", "payment.failed", "order.cancelled"], Status::Cancelled),
            (&["order.persisted", "payment.succeeded"], Status::Completed),
            (&["invoice.created"], Status::Completed),
            (&["order.persisted", "payment.succeeded", "invoice.created"], Status::Completed),
        ] {
            let fact = |event: &&str| facts().into_iter().find(|fact| fact.event_type() == *event);
            let entry = |event: &&str| {
                let fact = fact(event).unwrap_or_else(|| panic!("no fact {event}"));
                HistoryEntry { fact, at: Timestamp::UNIX_EPOCH }
            };
            let mut history: Vec<HistoryEntry> = events.iter().map(entry).collect();
            assert_eq!(Status::of(&history), expected, "{events:?}");
            history.reverse();
            assert_eq!(Status::of(&history), expected, "{events:?}, reversed");
        }
    }

    #[test]
    fn a_fact_is_stored_as_a_flat_document_with_its_event_type() {
        let data = [
            json!({}),
            json!({ "rejected": [] }),
            json!({}),
            json!({ "code": "expired_card" }),
            json!({}),
            json!({ "invoice": "2026-000001" }),
        ];
        for (fact, mut expected) in facts().into_iter().zip(data) {
            let (event, order_id) = (fact.event_type(), "order-1".parse().expect("an id"));
            expected["orderId"] = "order-1".into();
            expected["event"] = event.into();
            expected["at"] = "1970-01-01T00:00:00Z".into();
            let entry = HistoryEntry { fact, at: Timestamp::UNIX_EPOCH };
            let stored = serde_json::to_value(StoredFact { order_id, entry }).expect("JSON");
            assert_eq!(stored, expected);
            let read: StoredFact = serde_json::from_value(stored).expect("the same fact");
            assert_eq!(read.id(), format!("order-1+{event}"));
        }
    }
}
