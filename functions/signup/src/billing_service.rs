//! Charges: one for each user.

use axum::{Json, extract::Path};
use effects::payments::{Gateway, Money, Outcome, Payment, Status};
use events::{UserCreated, UserId};
use jiff::Timestamp;
use pushbox::{Context, Document, Documents, Effect, Failure, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service(gateway: Gateway, price: Money, payment_method: String) -> Service {
    Service::new("billing-service", "charges new users")
        .effect(SignupCharge { gateway, price, payment_method })
        .get("/charges/{user_id}", charge)
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

/// The charge for a signup.
struct SignupCharge {
    gateway: Gateway,
    price: Money,
    payment_method: String,
}

/// The charge to make, and the gateway that makes it.
#[derive(Clone, Serialize, Deserialize)]
struct Charging {
    user_id: UserId,
    gateway: String,
    payment: Payment,
}

impl Effect for SignupCharge {
    type Event = UserCreated;
    type Call = Charging;
    type Outcome = Outcome;

    const SECRETS: &[&str] = &[Gateway::SECRET];

    async fn claim(&self, user: UserCreated, cx: Context) -> Result<Option<Charging>, Failure> {
        let payment = Payment {
            amount: self.price.clone(),
            method: self.payment_method.clone(),
            reference: user.user_id.to_string(),
        };
        let gateway = self.gateway.name().to_owned();
        let charging = Charging { user_id: user.user_id, gateway, payment };
        let pending = Charge::new(charging.clone(), Status::Pending, cx.now());
        // A duplicate of this event is not committed. This check is for another event about the same user.
        Ok(cx.create(&pending).is_new().then_some(charging))
    }

    async fn perform(&self, charging: Charging, key: String) -> Result<Outcome, Failure> {
        self.gateway.clone().charge(charging.payment, key).await
    }

    async fn complete(&self, charging: Charging, outcome: Outcome, cx: Context) -> Result<(), Failure> {
        // A declined card is an answer, too: a retry would not change it.
        cx.put(&Charge::new(charging, outcome.into(), cx.now()));
        Ok(())
    }

    async fn abandon(&self, charging: Charging, cx: Context) -> Result<(), Failure> {
        cx.delete::<Charge>(charging.user_id.as_str());
        Ok(())
    }
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
