//! Orders as the customer sees them: taken here, and followed by what the other services announce.

use std::collections::BTreeSet;

use axum::{Json, extract::Path};
use events::{
    EmailAddress, Event, InvoiceCreated, InvoiceNumber, OrderCancelled, OrderCreated, OrderId, OrderLine,
    OrderLines, OrderPersisted, OrderRejected, PaymentFailed, PaymentMethod, PaymentSucceeded, Quantity,
    RejectedLine, Sku,
};
use jiff::Timestamp;
use pushbox::{
    Command, Context, Created, Document, Documents, Failure, FieldErrors, Problem, Reply, Service,
};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("order-api", "takes orders and tells what became of them")
        .public()
        .publishes::<OrderCreated>()
        .on(|OrderPersisted { order_id, .. }, cx| note::<OrderPersisted>(order_id, What::default(), cx))
        .on(|OrderRejected { order_id, lines, .. }, cx| {
            note::<OrderRejected>(order_id, What { rejected: Some(lines), ..What::default() }, cx)
        })
        .on(|PaymentSucceeded { order_id, .. }, cx| note::<PaymentSucceeded>(order_id, What::default(), cx))
        .on(|PaymentFailed { order_id, code, .. }, cx| {
            note::<PaymentFailed>(order_id, What { code: Some(code), ..What::default() }, cx)
        })
        .on(|OrderCancelled { order_id, .. }, cx| note::<OrderCancelled>(order_id, What::default(), cx))
        .on(|InvoiceCreated { order_id, number, .. }, cx| {
            note::<InvoiceCreated>(order_id, What { invoice: Some(number), ..What::default() }, cx)
        })
        .post("/orders", create_order)
        .get("/orders/{id}", order)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: OrderId,
    lines: OrderLines,
    created_at: Timestamp,
}

/// Something that happened to an order. Each event has a document of its own, so that it does not
/// matter in which order they come, and none of them waits for another.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fact {
    order_id: OrderId,
    #[serde(flatten)]
    happened: Happened,
}

#[derive(Serialize, Deserialize)]
struct Happened {
    event: String,
    at: Timestamp,
    #[serde(flatten)]
    what: What,
}

#[derive(Default, Serialize, Deserialize)]
struct What {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected: Option<Vec<RejectedLine>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invoice: Option<InvoiceNumber>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    #[serde(default)]
    customer_email: String,
    #[serde(default)]
    lines: Vec<NewLine>,
    #[serde(default)]
    payment_method: String,
}

#[derive(Deserialize)]
struct NewLine {
    #[serde(default)]
    sku: String,
    #[serde(default)]
    quantity: i64,
}

async fn create_order(command: Command<NewOrder>) -> Result<Reply, Problem> {
    let NewOrder { customer_email, lines, payment_method } = &command.body;
    let mut errors = FieldErrors::default();
    let email = errors.parse("/customerEmail", customer_email);
    let lines = order_lines(lines, &mut errors);
    let method = errors.parse("/paymentMethod", payment_method);
    let is_card_number = |method: &PaymentMethod| {
        method.as_str().chars().filter(char::is_ascii_digit).count() >= 12
            && !method.as_str().contains(|c: char| c.is_ascii_alphabetic())
    };
    if method.as_ref().is_some_and(is_card_number) {
        errors.note("/paymentMethod", "this looks like a card's number; send the id of a payment method");
        return Err(errors.into());
    }
    let (Some(email), Some(lines), Some(method)) = (email, lines, method) else { return Err(errors.into()) };
    command.run((email, lines, method), take_order).await
}

/// All that is wrong with the lines, each with its place.
fn order_lines(lines: &[NewLine], errors: &mut FieldErrors) -> Option<OrderLines> {
    if !(1..=OrderLines::MAX).contains(&lines.len()) {
        errors.note("/lines", format_args!("an order has 1 to {} lines", OrderLines::MAX));
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut parsed = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let sku: Option<Sku> = errors.parse(&format!("/lines/{number}/sku"), &line.sku);
        if sku.clone().is_some_and(|sku| !seen.insert(sku)) {
            errors.note(&format!("/lines/{number}/sku"), "there is a line with this sku already");
        }
        let quantity = u32::try_from(line.quantity).unwrap_or(u32::MAX);
        let quantity = Quantity::try_from(quantity)
            .map_err(|error| errors.note(&format!("/lines/{number}/quantity"), error));
        parsed.extend(sku.zip(quantity.ok()).map(|(sku, quantity)| OrderLine { sku, quantity }));
    }
    // What is missing here has been noted above.
    OrderLines::try_from(parsed).ok().filter(|parsed| parsed.len() == lines.len())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    order_id: OrderId,
    status: Status,
    /// Relative to the request's path.
    status_url: String,
}

async fn take_order(
    (customer_email, lines, payment_method): (EmailAddress, OrderLines, PaymentMethod),
    cx: Context,
) -> Result<Reply, Problem> {
    let order_id: OrderId = cx.new_id().parse().map_err(Failure::from)?;
    let order = Order { order_id: order_id.clone(), lines: lines.clone(), created_at: cx.now() };
    if cx.create(&order).exists() {
        return Err(Failure::Retry("a new id was taken".to_owned()).into());
    }
    cx.publish(&OrderCreated { order_id: order_id.clone(), customer_email, lines, payment_method });
    let status_url = format!("orders/{order_id}");
    let accepted = Accepted { order_id, status: Status::Received, status_url: status_url.clone() };
    Ok(Reply::accepted(&accepted).at(status_url))
}

async fn note<E: Event>(order_id: OrderId, what: What, cx: Context) -> Result<(), Failure> {
    let happened = Happened { event: E::TYPE.to_owned(), at: cx.occurred_at(), what };
    // Said before, by hand say: the first word counts.
    let (Created::New | Created::Exists) = cx.create(&Fact { order_id, happened });
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Status {
    Received,
    AwaitingPayment,
    PaymentFailed,
    Rejected,
    Completed,
    Cancelled,
}

impl Status {
    /// What a set of facts amounts to. What comes late in an order's life outweighs what comes
    /// early, so it makes no difference in which order they arrived.
    fn of(history: &[Happened]) -> Self {
        let stages = [
            (OrderRejected::TYPE, Self::Rejected),
            (InvoiceCreated::TYPE, Self::Completed),
            (PaymentSucceeded::TYPE, Self::Completed),
            (OrderCancelled::TYPE, Self::Cancelled),
            (PaymentFailed::TYPE, Self::PaymentFailed),
            (OrderPersisted::TYPE, Self::AwaitingPayment),
        ];
        let is_known = |name: &str| history.iter().any(|happened| happened.event == name);
        stages.into_iter().find(|(name, _)| is_known(name)).map_or(Self::Received, |(_, status)| status)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    order: Order,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<InvoiceNumber>,
    /// The oldest first.
    history: Vec<Happened>,
}

async fn order(documents: Documents, Path(id): Path<OrderId>) -> Result<Json<Shown>, Problem> {
    let order = documents.get(id.as_str()).await?.ok_or_else(|| Problem::not_found("order"))?;
    let facts: Vec<Fact> = documents.after(&Fact::id_of(&id, ""), FACTS).await?;
    let facts = facts.into_iter().filter(|fact| fact.order_id == id);
    let mut history: Vec<Happened> = facts.map(|fact| fact.happened).collect();
    history.sort_by_key(|happened| happened.at);
    let invoice = history.iter().find_map(|happened| happened.what.invoice.clone());
    Ok(Json(Shown { order, status: Status::of(&history), invoice, history }))
}

/// How many there can be for an order: one for each event that is noted.
const FACTS: usize = 6;

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}

impl Fact {
    /// An id of an order has no `+`, so no order's facts stand among another's.
    fn id_of(order_id: &OrderId, event: &str) -> String {
        format!("{order_id}+{event}")
    }
}

impl Document for Fact {
    const COLLECTION: &'static str = "facts";
    fn id(&self) -> String {
        Self::id_of(&self.order_id, &self.happened.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_from_the_facts_in_whatever_order_they_came() {
        let happened = |event: &&str| Happened {
            event: (*event).to_owned(),
            at: Timestamp::UNIX_EPOCH,
            what: What::default(),
        };
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
            let mut history: Vec<Happened> = events.iter().map(happened).collect();
            assert_eq!(Status::of(&history), expected, "{events:?}");
            history.reverse();
            assert_eq!(Status::of(&history), expected, "{events:?}, the other way round");
        }
    }
}
