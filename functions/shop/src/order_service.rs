//! Orders and their stock: an order gets all the stock that it needs, or none.

mod allotment;
mod products;
mod stock;

use events::{
    EmailAddress, LogCreated, LogLevel, Money, OrderCancelled, OrderCreated, OrderId, OrderPersisted,
    OrderRejected, PaymentSucceeded, RejectedLine,
};
use pushbox::{Context, Document, Failure, Service, ServiceName, reject};
use serde::{Deserialize, Serialize};

use allotment::{Allotment, allot};
use stock::{Shards, TakenLine};

const NAME: ServiceName = "order-service";

/// The service is not public, because its routes set prices and stock.
pub fn service(stock_shards: u64) -> Service {
    let shards = Shards(stock_shards.max(1));
    Service::new(NAME, "keeps the orders and the stock")
        .on(move |order, cx| take_stock(order, shards, cx))
        .on(complete)
        .on(cancel)
        .publishes::<OrderPersisted>()
        .publishes::<OrderRejected>()
        .publishes::<LogCreated>()
        .get("/products", move |documents, page| products::list(documents, page, shards))
        .put("/products/{sku}", move |sku, command| products::put(sku, command, shards))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: OrderId,
    customer_email: EmailAddress,
    #[serde(flatten)]
    state: State,
}

/// An order ends once, as completed, cancelled or rejected. Then its state does not change.
#[derive(Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "camelCase")]
enum State {
    /// The stock is held for the order.
    AwaitingPayment { lines: Vec<TakenLine>, total: Money },
    /// The stock is sold.
    Completed { lines: Vec<TakenLine>, total: Money },
    /// The stock is free again.
    Cancelled { lines: Vec<TakenLine>, total: Money, reason: String },
    /// No stock was taken.
    Rejected { lines: Vec<RejectedLine> },
}

async fn take_stock(created: OrderCreated, shards: Shards, cx: Context) -> Result<(), Failure> {
    let OrderCreated { order_id, customer_email, lines, payment_method } = created;
    let allotment = allot(&lines, shards, &cx).await?;
    let state = State::from(&allotment);
    let order = Order { order_id: order_id.clone(), customer_email: customer_email.clone(), state };
    // This comes before any stock is taken, so another event about the same order, for example published
    // by hand, changes nothing.
    if cx.create(&order).exists() {
        return Ok(());
    }
    match allotment {
        Allotment::Available { lines, total, changed } => {
            stock::hold(&changed, &cx);
            let lines = lines.into_iter().map(|taken| taken.line).collect();
            cx.publish(&OrderPersisted { order_id, customer_email, lines, total, payment_method });
        }
        // Too little stock is an answer, not a failure.
        Allotment::Unavailable { lines } => {
            cx.publish(&LogCreated {
                service: NAME.to_owned(),
                level: LogLevel::Info,
                message: format!("order rejected: {}", allotment::describe(&lines)),
                reference: Some(order_id.to_string()),
            });
            cx.publish(&OrderRejected { order_id, customer_email, lines });
        }
    }
    Ok(())
}

async fn complete(paid: PaymentSucceeded, cx: Context) -> Result<(), Failure> {
    let mut order = existing_order(&paid.order_id, &cx).await?;
    order.state = match order.state {
        State::AwaitingPayment { lines, total } => {
            stock::sell(&lines, &cx);
            State::Completed { lines, total }
        }
        State::Completed { .. } => return Ok(()),
        // The customer was charged and gets nothing: a person must look at it.
        State::Cancelled { .. } | State::Rejected { .. } => {
            return Err(reject(format_args!("{} is paid, but has ended otherwise", paid.order_id)));
        }
    };
    cx.put(&order);
    Ok(())
}

async fn cancel(cancelled: OrderCancelled, cx: Context) -> Result<(), Failure> {
    let OrderCancelled { order_id, reason } = cancelled;
    let mut order = existing_order(&order_id, &cx).await?;
    order.state = match order.state {
        State::AwaitingPayment { lines, total } => {
            stock::release(&lines, &cx);
            State::Cancelled { lines, total, reason }
        }
        State::Cancelled { .. } => return Ok(()),
        State::Completed { .. } | State::Rejected { .. } => {
            return Err(reject(format_args!("{order_id} is cancelled, but has ended otherwise")));
        }
    };
    cx.put(&order);
    Ok(())
}

/// The commit that stores an order also announces the order, and no service pays or cancels an order before
/// that. So an event about an order that does not exist is made up.
async fn existing_order(order_id: &OrderId, cx: &Context) -> Result<Order, Failure> {
    cx.get(order_id.as_str()).await?.ok_or_else(|| reject(format_args!("there is no order {order_id}")))
}

impl From<&Allotment> for State {
    fn from(allotment: &Allotment) -> Self {
        match allotment {
            Allotment::Available { lines, total, .. } => {
                Self::AwaitingPayment { lines: lines.clone(), total: total.clone() }
            }
            Allotment::Unavailable { lines } => Self::Rejected { lines: lines.clone() },
        }
    }
}

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
