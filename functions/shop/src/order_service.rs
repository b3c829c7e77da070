//! Orders and the stock that they take: all of what an order needs, or nothing.

mod products;
mod stock;

use events::{
    EmailAddress, LogCreated, LogLevel, Money, OrderCancelled, OrderCreated, OrderId, OrderPersisted,
    OrderRejected, PaymentSucceeded, RejectedLine,
};
use pushbox::{Context, Document, Failure, Service, reject};
use serde::{Deserialize, Serialize};

use stock::{Shards, TakenLine};

/// Not public: whoever may set prices and stock may invoke it.
pub fn service(stock_shards: u64) -> Service {
    let shards = Shards(stock_shards.max(1));
    Service::new("order-service", "keeps the orders and the stock")
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

/// An order ends once, and which end it has does not change any more.
#[derive(Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "camelCase")]
enum State {
    /// The stock is held for it.
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
    let rejected = State::Rejected { lines: Vec::new() };
    let mut order =
        Order { order_id: order_id.clone(), customer_email: customer_email.clone(), state: rejected };
    // Before anything is taken: an event about an order that is there, published by hand say,
    // changes nothing.
    if cx.create(&order).exists() {
        return Ok(());
    }
    order.state = match stock::take(&lines, shards, &cx).await? {
        Ok((lines, total)) => {
            cx.publish(&OrderPersisted {
                order_id,
                customer_email,
                lines: lines.iter().map(|taken| taken.line.clone()).collect(),
                total: total.clone(),
                payment_method,
            });
            State::AwaitingPayment { lines, total }
        }
        // Too little stock is an answer, not a failure.
        Err(lines) => {
            let message = format!("order rejected: {}", stock::describe(&lines));
            cx.publish(&LogCreated {
                service: "order-service".to_owned(),
                level: LogLevel::Info,
                message,
                reference: Some(order_id.to_string()),
            });
            cx.publish(&OrderRejected { order_id, customer_email, lines: lines.clone() });
            State::Rejected { lines }
        }
    };
    cx.put(&order);
    Ok(())
}

async fn complete(paid: PaymentSucceeded, cx: Context) -> Result<(), Failure> {
    let mut order = known(&paid.order_id, &cx).await?;
    order.state = match order.state {
        State::AwaitingPayment { lines, total } => {
            stock::sell(&lines, &cx);
            State::Completed { lines, total }
        }
        State::Completed { .. } => return Ok(()),
        // Somebody was charged for what they do not get: a person has to look.
        State::Cancelled { .. } | State::Rejected { .. } => {
            return Err(reject(format_args!("{} is paid, but has ended otherwise", paid.order_id)));
        }
    };
    cx.put(&order);
    Ok(())
}

async fn cancel(cancelled: OrderCancelled, cx: Context) -> Result<(), Failure> {
    let OrderCancelled { order_id, reason } = cancelled;
    let mut order = known(&order_id, &cx).await?;
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

/// An order is paid or cancelled only after this service has announced it, and that it does in the
/// commit that stores it. So whoever speaks of another one made it up.
async fn known(order_id: &OrderId, cx: &Context) -> Result<Order, Failure> {
    cx.get(order_id.as_str()).await?.ok_or_else(|| reject(format_args!("there is no order {order_id}")))
}

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
