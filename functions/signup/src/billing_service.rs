//! Charges: one for each user.

use axum::{Json, Router, extract::Path, routing::get};
use effects::payments::{Gateway, Money, Outcome, Payment, Status};
use events::{UserCreated, UserId};
use jiff::Timestamp;
use pushbox::{Context, Document, Documents, Failure, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service(gateway: Gateway, price: Money, payment_method: String) -> Service {
    let gateway_name = gateway.name().to_owned();
    let plan = move |user: UserCreated, cx| {
        let payment = Payment {
            amount: price.clone(),
            method: payment_method.clone(),
            reference: user.user_id.to_string(),
        };
        plan_charge(Charging { user_id: user.user_id, gateway: gateway_name.clone(), payment }, cx)
    };
    let perform = move |charging: Charging, key| gateway.clone().charge(charging.payment, key);
    Service::new("billing-service", "charges new users")
        .effect(plan, perform, record_charge)
        .routes(Router::new().route("/charges/{user_id}", get(charge)))
        .secret("STRIPE_SECRET_KEY")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Charge {
    user_id: UserId,
    amount: Money,
    /// `stripe`, or `local` for the local payment gateway, which takes no money.
    gateway: String,
    #[serde(flatten)]
    status: Status,
    at: Timestamp,
}

/// What is charged by whom.
#[derive(Clone, Serialize, Deserialize)]
struct Charging {
    user_id: UserId,
    gateway: String,
    payment: Payment,
}

async fn plan_charge(charging: Charging, cx: Context) -> Result<Option<Charging>, Failure> {
    let pending = Charge::new(charging.clone(), Status::Pending, cx.now());
    // Another event about the same user, published by hand say: they are charged already.
    Ok(cx.create(&pending).is_ok().then_some(charging))
}

async fn record_charge(charging: Charging, outcome: Outcome, cx: Context) -> Result<(), Failure> {
    // A declined card is an answer too: to try again would not change it.
    cx.put(&Charge::new(charging, outcome.into(), cx.now()));
    Ok(())
}

async fn charge(documents: Documents, Path(id): Path<UserId>) -> Result<Json<Charge>, Problem> {
    documents.get(id.as_str()).await?.map(Json).ok_or_else(|| Problem::not_found("charge"))
}

impl Charge {
    fn new(charging: Charging, status: Status, at: Timestamp) -> Self {
        let Charging { user_id, gateway, payment } = charging;
        Self { user_id, amount: payment.amount, gateway, status, at }
    }
}

impl Document for Charge {
    const COLLECTION: &'static str = "charges";
    fn id(&self) -> String {
        self.user_id.to_string()
    }
}
