//! Taking a charge back: a refund if it was paid, a cancellation if it was not.

use events::Money;
use serde::{Deserialize, Serialize};

/// A refund to make: the whole amount of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    /// The charge's id at the gateway, such as `pi_…`.
    pub charge_id: String,
    /// The amount of the charge.
    pub amount: Money,
    /// The id of the order that the charge was for. It finds the refund at the gateway.
    pub reference: String,
}

/// The outcome of a refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum RefundOutcome {
    /// The whole amount is given back.
    Refunded {
        /// The refund's id at the gateway, such as `re_…`.
        id: String,
    },
    /// Nothing is given back, and a repeat with the same key would change nothing.
    Failed {
        /// The reason, such as `charge_disputed` or `expired_or_canceled_card`
        /// (<https://docs.stripe.com/refunds#failed-refunds>).
        code: String,
    },
}

/// The outcome of cancelling a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum Cancellation {
    /// The charge can never be paid.
    Cancelled,
    /// The charge is paid: nothing was cancelled. It needs a refund.
    Paid,
}
