//! Payments, through Stripe or the local payment gateway.

mod local_gateway;
mod stripe;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

pub use events::{Currency, InvalidCurrency, Money};
pub use local_gateway::{LocalCharge, local_charges};
use pushbox::{Clock, Failure, store::Store};
use serde::{Deserialize, Serialize};

use crate::Misconfigured;

/// A charge to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The amount.
    pub amount: Money,
    /// The payment method's id at the gateway, such as `pm_card_visa`; never a card's number.
    pub method: String,
    /// The id of the user or the order that the charge is for. It finds the charge at the gateway.
    pub reference: String,
}

/// The outcome of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum Outcome {
    /// The money is taken.
    Paid {
        /// The charge's id at the gateway, such as `pi_…`.
        id: String,
    },
    /// No money is taken, and the same charge would be declined again.
    Declined {
        /// The charge's id at the gateway, if it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The reason, such as `insufficient_funds` (<https://docs.stripe.com/declines/codes>), or
        /// `resource_missing` if the payment method does not exist.
        code: String,
    },
}

/// The progress of a charge, as its document records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum Status {
    /// The charge is claimed, and may be under way.
    Pending,
    /// The money is taken.
    Paid {
        /// The charge's id at the gateway.
        id: String,
    },
    /// No money is taken.
    Declined {
        /// The reason.
        code: String,
    },
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Paid { id } => Self::Paid { id },
            Outcome::Declined { code, .. } => Self::Declined { code },
        }
    }
}

/// Faults of the local payment gateway. A clone is another handle to the same faults.
#[derive(Clone, Default)]
pub struct LocalFaults {
    /// It declines every new charge.
    pub declines: Arc<AtomicBool>,
    /// It makes the charge, but gives no answer.
    pub hangs: Arc<AtomicBool>,
}

/// Takes payments.
#[derive(Clone)]
pub struct Gateway(Arc<Adapter>);

enum Adapter {
    Stripe(stripe::Stripe),
    Local(local_gateway::LocalGateway),
}

impl Gateway {
    /// Charges through [Stripe](https://docs.stripe.com/api/payment_intents/create).
    ///
    /// `secret_key` is the value of `STRIPE_SECRET_KEY`. `api_base` is the value of `STRIPE_API_BASE`:
    /// `https://api.stripe.com`, except where a stand-in takes Stripe's place.
    ///
    /// Stripe remembers an idempotency key for
    /// [at least 24 hours](https://docs.stripe.com/api/idempotent_requests). Pub/Sub dead-letters a
    /// failing message well before that. Before you replay an older dead letter whose last attempt had
    /// an unknown outcome, look for its reference in Stripe's dashboard. While Stripe remembers the key,
    /// it repeats its first answer, even a 500: such a charge ends as a dead letter.
    ///
    /// # Errors
    /// `secret_key` or `api_base` is malformed.
    pub fn stripe(secret_key: &str, api_base: &str) -> Result<Self, Misconfigured> {
        Ok(Self(Arc::new(Adapter::Stripe(stripe::Stripe::new(secret_key, api_base)?))))
    }

    /// The local payment gateway, a fake that charges nobody. It stores each charge at
    /// `services/local-payment-gateway/charges/<key>`. It declines the payment methods that
    /// [Stripe declines](https://docs.stripe.com/testing#declined-payments):
    /// `pm_card_visa_chargeDeclined`, `pm_card_visa_chargeDeclinedInsufficientFunds` and so on.
    #[must_use]
    pub fn local(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self::local_with(store, clock, LocalFaults::default())
    }

    /// Like [`Gateway::local`], with faults that can be turned on.
    #[must_use]
    pub fn local_with(store: Arc<dyn Store>, clock: Clock, faults: LocalFaults) -> Self {
        Self(Arc::new(Adapter::Local(local_gateway::LocalGateway::new(store, clock, faults))))
    }

    /// `stripe` or `local`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &*self.0 {
            Adapter::Stripe(_) => "stripe",
            Adapter::Local(_) => "local",
        }
    }

    /// Charges once for each `key`, which is the same on every attempt. Ends within 8 seconds.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the gateway cannot be reached, refuses the secret key, or does not know
    /// the outcome yet. [`Failure::Reject`] if the gateway finds the request invalid, or the
    /// idempotency key was used for another charge.
    pub async fn charge(self, payment: Payment, key: String) -> Result<Outcome, Failure> {
        match &*self.0 {
            Adapter::Stripe(stripe) => stripe.charge(&payment, &key).await,
            Adapter::Local(gateway) => gateway.charge(payment, &key).await,
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({})", self.name())
    }
}
