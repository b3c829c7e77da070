//! The states of an order.

use events::{Money, TicketRefusal};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// An order is live while it is pending or awaits payment. Then it ends once. Only a completed order changes
/// after that: its buyer may give the ticket back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum State {
    /// The ticket is not locked yet, as far as is known.
    Pending,
    /// The ticket is locked for the order.
    AwaitingPayment {
        expires_at: Timestamp,
        /// The code of the last declined charge.
        declined: Option<String>,
    },
    /// The buyer has the ticket.
    Completed { charge_id: String, completed_at: Timestamp },
    /// The buyer cancelled it before paying.
    Cancelled,
    /// It was not paid in time.
    Expired,
    /// The buyer does not get the ticket.
    Refused { refusal: TicketRefusal },
    /// The buyer cancelled it after paying, and gets the money back.
    Refunding {
        charge_id: String,
        /// The code of a refund that failed.
        failed: Option<String>,
    },
    /// The buyer got the money back.
    Refunded { charge_id: String },
}

impl State {
    /// Whether the order can still get the ticket.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Pending | Self::AwaitingPayment { .. })
    }

    /// Whether the order was not paid by its deadline and `grace`. Timers may be late, so every decision about an
    /// order looks at this.
    pub(super) fn is_overdue(&self, now: Timestamp, grace: SignedDuration) -> bool {
        matches!(self, Self::AwaitingPayment { expires_at, .. } if now.duration_since(*expires_at) >= grace)
    }

    /// Whether the order has ended and never had the ticket.
    pub(super) fn has_lost(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Expired | Self::Refused { .. })
    }

    /// The charge that paid the order.
    pub(super) fn charge(&self) -> Option<&str> {
        match self {
            Self::Completed { charge_id, .. }
            | Self::Refunding { charge_id, .. }
            | Self::Refunded { charge_id } => Some(charge_id),
            _ => None,
        }
    }

    /// The status, as the buyer sees it.
    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::AwaitingPayment { .. } => "awaitingPayment",
            Self::Completed { .. } => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refused { .. } => "refused",
            Self::Refunding { .. } => "refunding",
            Self::Refunded { .. } => "refunded",
        }
    }

    /// Why the order is in this state, if there is more to say. A changed price comes with the present one.
    pub(super) fn reason(&self) -> (Option<&str>, Option<&Money>) {
        match self {
            Self::AwaitingPayment { declined: code, .. } | Self::Refunding { failed: code, .. } => {
                (code.as_deref(), None)
            }
            Self::Refused { refusal } => match refusal {
                TicketRefusal::Taken => (Some("taken"), None),
                TicketRefusal::OwnTicket => (Some("ownTicket"), None),
                TicketRefusal::PriceChanged { price } => (Some("priceChanged"), Some(price)),
                TicketRefusal::UnknownTicket => (Some("unknownTicket"), None),
                TicketRefusal::NotForSale => (Some("notForSale"), None),
            },
            _ => (None, None),
        }
    }
}
