//! Payments and refunds, through Stripe or the local payment gateway.

mod deadline;
mod local_gateway;
mod reversal;
mod stripe;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

pub use deadline::Deadline;
pub use events::{Currency, InvalidCurrency, Money};
pub use local_gateway::{LOCAL_GATEWAY, LocalCharge, local_charges};
use pushbox::{Clock, Failure, store::Store};
use serde::{Deserialize, Serialize};

pub use reversal::{Cancellation, Refund, RefundOutcome};

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
pub struct Gateway {
    adapter: Arc<Adapter>,
    clock: Clock,
}

enum Adapter {
    Stripe(stripe::Stripe),
    Local(local_gateway::LocalGateway),
}

impl Gateway {
    /// The environment variable of the secret: Stripe's key.
    pub const SECRET: &str = "STRIPE_SECRET_KEY";

    /// Charges through [Stripe](https://docs.stripe.com/api/payment_intents/create).
    ///
    /// `secret_key` is the value of `STRIPE_SECRET_KEY`. `api_base` is the value of `STRIPE_API_BASE`:
    /// `https://api.stripe.com`, except where a stand-in takes Stripe's place. `clock` tells whether a charge's
    /// [`Deadline`] has passed.
    ///
    /// Stripe remembers an idempotency key for
    /// [at least 24 hours](https://docs.stripe.com/api/idempotent_requests). Pub/Sub dead-letters a
    /// failing message well before that. Before you replay an older dead letter whose last attempt had
    /// an unknown outcome, look for its reference in Stripe's dashboard. While Stripe remembers the key,
    /// it repeats its first answer, even a 500: such a charge ends as a dead letter.
    ///
    /// # Errors
    /// `secret_key` or `api_base` is malformed.
    pub fn stripe(secret_key: &str, api_base: &str, clock: Clock) -> Result<Self, Misconfigured> {
        let adapter = Arc::new(Adapter::Stripe(stripe::Stripe::new(secret_key, api_base)?));
        Ok(Self { adapter, clock })
    }

    /// The local payment gateway, a fake that charges nobody. It stores each charge at
    /// `services/local-payment-gateway/charges/<key>`, and one that is opened but neither confirmed nor called off yet
    /// at `intents/<key>` only. It declines the payment methods that
    /// [Stripe declines](https://docs.stripe.com/testing#declined-payments):
    /// `pm_card_visa_chargeDeclined`, `pm_card_visa_chargeDeclinedInsufficientFunds` and so on. Charges to
    /// `pm_card_refundFail` are paid, but their refunds fail. Refunds are stored at
    /// `services/local-payment-gateway/refunds/<key>`, and cancellations beside them.
    #[must_use]
    pub fn local(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self::local_with(store, clock, LocalFaults::default())
    }

    /// Like [`Gateway::local`], with faults that can be turned on.
    #[must_use]
    pub fn local_with(store: Arc<dyn Store>, clock: Clock, faults: LocalFaults) -> Self {
        let gateway = local_gateway::LocalGateway::new(store, clock.clone(), faults);
        Self { adapter: Arc::new(Adapter::Local(gateway)), clock }
    }

    /// `stripe` or `local`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &*self.adapter {
            Adapter::Stripe(_) => "stripe",
            Adapter::Local(_) => "local",
        }
    }

    /// Charges once for each `key`, which is the same on every attempt. Ends within 8 seconds.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the gateway cannot be reached, refuses the secret key, or does not know
    /// the outcome yet. [`Failure::Reject`] if the gateway finds the request invalid, if the idempotency key
    /// was used for another request, or if the answer names another amount or currency.
    pub async fn charge(self, payment: Payment, key: String) -> Result<Outcome, Failure> {
        match &*self.adapter {
            Adapter::Stripe(stripe) => stripe.charge(&payment, &key).await,
            Adapter::Local(gateway) => gateway.charge(payment, &key).await,
        }
    }

    /// Gives the whole amount of a charge back, once for each `key`, which is the same on every attempt. Ends
    /// within 8 seconds.
    ///
    /// A charge that is refunded already counts as refunded if the earlier refund has this key, or if it gave
    /// the whole amount back at once. So a repeat is safe even after Stripe has forgotten the key. Parts that
    /// somebody has refunded by hand do not count: then this fails with `charge_already_refunded`.
    ///
    /// # Errors
    /// As [`charge`](Self::charge). [`Failure::Retry`] also while the refund is pending, because it can still
    /// fail.
    pub async fn refund(self, refund: Refund, key: String) -> Result<RefundOutcome, Failure> {
        match &*self.adapter {
            Adapter::Stripe(stripe) => stripe.refund(&refund, &key).await,
            Adapter::Local(gateway) => gateway.refund(refund, &key).await,
        }
    }

    /// Makes sure that a charge that was declined, or that waits for its customer, is never paid. A charge that
    /// is cancelled already counts as cancelled. `key` is the same on every attempt. Ends within 8 seconds.
    ///
    /// # Errors
    /// As [`charge`](Self::charge).
    pub async fn cancel(self, charge_id: String, key: String) -> Result<Cancellation, Failure> {
        match &*self.adapter {
            Adapter::Stripe(stripe) => stripe.cancel(&charge_id, &key).await,
            Adapter::Local(gateway) => gateway.cancel(charge_id, &key).await,
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({})", self.name())
    }
}
