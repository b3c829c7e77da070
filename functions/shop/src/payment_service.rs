//! Payments: one charge for each order.

use axum::{Json, extract::Path};
use effects::payments::{Gateway, Money, Outcome, Payment, Status};
use events::{LogCreated, LogLevel, OrderId, OrderPersisted, PaymentFailed, PaymentSucceeded};
use jiff::Timestamp;
use pushbox::{Context, Document, Documents, Effect, Failure, Problem, Service, ServiceName};
use serde::{Deserialize, Serialize};

const NAME: ServiceName = "payment-service";

pub fn service(gateway: Gateway) -> Service {
    Service::new(NAME, "charges the customers")
        .effect(OrderCharge { gateway })
        .publishes::<PaymentSucceeded>()
        .publishes::<PaymentFailed>()
        .publishes::<LogCreated>()
        .get("/payments/{order_id}", payment)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Charge {
    order_id: OrderId,
    amount: Money,
    /// `stripe`, or `local` for the local payment gateway, which takes no money.
    gateway: String,
    #[serde(flatten)]
    status: Status,
    at: Timestamp,
}

/// The charge for an order.
struct OrderCharge {
    gateway: Gateway,
}

/// The order to charge, and the gateway that charges it.
#[derive(Serialize, Deserialize)]
struct Charging {
    order: OrderPersisted,
    gateway: String,
}

impl Effect for OrderCharge {
    type Event = OrderPersisted;
    type Call = Charging;
    type Outcome = Outcome;

    const SECRETS: &[&str] = &[Gateway::SECRET];

    async fn claim(&self, order: OrderPersisted, cx: Context) -> Result<Option<Charging>, Failure> {
        let charging = Charging { order, gateway: self.gateway.name().to_owned() };
        let pending = charging.charge(Status::Pending, cx.now());
        // A duplicate of this event is not committed. This check is for another event about the same order.
        Ok(cx.create(&pending).is_new().then_some(charging))
    }

    async fn perform(&self, charging: Charging, key: String) -> Result<Outcome, Failure> {
        self.gateway.clone().charge(charging.payment(), key).await
    }

    async fn complete(&self, charging: Charging, outcome: Outcome, cx: Context) -> Result<(), Failure> {
        record(charging, outcome, &cx);
        Ok(())
    }

    async fn abandon(&self, charging: Charging, cx: Context) -> Result<(), Failure> {
        cx.delete::<Charge>(charging.order.order_id.as_str());
        Ok(())
    }
}

fn record(charging: Charging, outcome: Outcome, cx: &Context) {
    cx.put(&charging.charge(outcome.clone().into(), cx.now()));
    let OrderPersisted { order_id, customer_email, lines, total, .. } = charging.order;
    match outcome {
        Outcome::Paid { id: charge_id } => {
            cx.publish(&PaymentSucceeded { order_id, customer_email, lines, total, charge_id });
        }
        // A declined card is an answer: a retry would not change it.
        Outcome::Declined { code, .. } => {
            cx.publish(&LogCreated {
                service: NAME.to_owned(),
                level: LogLevel::Info,
                message: format!("payment declined: {code}"),
                reference: Some(order_id.to_string()),
            });
            cx.publish(&PaymentFailed { order_id, customer_email, total, code });
        }
    }
}

async fn payment(documents: Documents, Path(id): Path<OrderId>) -> Result<Json<Charge>, Problem> {
    documents.get(id.as_str()).await?.map(Json).ok_or_else(|| Problem::not_found("payment"))
}

impl Charging {
    fn payment(&self) -> Payment {
        Payment {
            amount: self.order.total.clone(),
            method: self.order.payment_method.to_string(),
            reference: self.order.order_id.to_string(),
        }
    }

    fn charge(&self, status: Status, at: Timestamp) -> Charge {
        Charge {
            order_id: self.order.order_id.clone(),
            amount: self.order.total.clone(),
            gateway: self.gateway.clone(),
            status,
            at,
        }
    }
}

impl Document for Charge {
    const COLLECTION: &'static str = "charges";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
