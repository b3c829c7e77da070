//! Orders as the customer sees them: this service takes orders and follows the events about them.

mod facts;
mod view;

use std::collections::BTreeSet;

use events::{
    EmailAddress, InvoiceCreated, OrderCancelled, OrderCreated, OrderId, OrderLine, OrderLines,
    OrderPersisted, OrderRejected, PaymentFailed, PaymentMethod, PaymentSucceeded, Quantity, Sku,
};
use jiff::Timestamp;
use pushbox::{Command, Context, Document, Failure, FieldErrors, Problem, Reply, Service};
use serde::{Deserialize, Serialize};

use facts::{Fact, Status, note};
use view::order;

pub fn service() -> Service {
    Service::new("order-api", "takes orders and shows their status")
        .public()
        .publishes::<OrderCreated>()
        .on(|OrderPersisted { order_id, .. }, cx| note(order_id, Fact::Persisted, cx))
        .on(|OrderRejected { order_id, lines, .. }, cx| {
            note(order_id, Fact::Rejected { rejected: lines }, cx)
        })
        .on(|PaymentSucceeded { order_id, .. }, cx| note(order_id, Fact::Paid, cx))
        .on(|PaymentFailed { order_id, code, .. }, cx| note(order_id, Fact::PaymentFailed { code }, cx))
        .on(|OrderCancelled { order_id, .. }, cx| note(order_id, Fact::Cancelled, cx))
        .on(|InvoiceCreated { order_id, number, .. }, cx| {
            note(order_id, Fact::Invoiced { invoice: number }, cx)
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
    if method.as_ref().is_some_and(PaymentMethod::looks_like_a_card_number) {
        errors.note("/paymentMethod", "this looks like a card's number; send the id of a payment method");
        return Err(errors.into());
    }
    let (Some(email), Some(lines), Some(method)) = (email, lines, method) else { return Err(errors.into()) };
    command.run((email, lines, method), take_order).await
}

/// Parses the lines, and notes each error with its place.
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
    // A line that is missing here has an error above.
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
    cx.create(&order).require_new()?;
    cx.publish(&OrderCreated { order_id: order_id.clone(), customer_email, lines, payment_method });
    let status_url = format!("orders/{order_id}");
    let accepted = Accepted { order_id, status: Status::Received, status_url: status_url.clone() };
    Ok(Reply::accepted(&accepted).at(status_url))
}

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
