//! The account of an order: what is due, and what became of it. One document holds all of it, so the order's
//! payment, its end and its refund never overtake each other.

use axum::http::StatusCode;
use events::{Money, OrderId, PaymentMethod, TicketId, TicketPaymentDue, TicketRefundDue, UserId};
use jiff::Timestamp;
use pushbox::{Confirmed, Context, Document, Failure, Problem, reject};
use serde::{Deserialize, Serialize};

use crate::timing::LEAST_TIME_TO_PAY;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    pub(super) order_id: OrderId,
    /// None until the news of the lock comes. The news of the order's end can come before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due: Option<Due>,
    pub(super) has_ended: bool,
    /// How many charges have begun. Each has its own number, and its own idempotency key.
    pub(super) attempts: u32,
    #[serde(flatten)]
    pub(super) state: State,
}

/// What the buyer owes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Due {
    pub(super) ticket_id: TicketId,
    pub(super) buyer: UserId,
    pub(super) price: Money,
    pub(super) until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum State {
    /// Nobody has tried to pay.
    Unpaid,
    /// A charge has begun, and its outcome is not known. Until then no other charge begins.
    Pending {
        call: Call,
        /// When the first call was claimed. None before, and in documents of versions that did not note it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begun_at: Option<Timestamp>,
    },
    /// No money is taken. The buyer may try again.
    Declined { code: String },
    /// The money is taken.
    Paid { charge_id: String },
    /// The money is on its way back.
    Refunding { charge_id: String, refund: u32, call: Call },
    /// The money is given back.
    Refunded { charge_id: String },
    /// The gateway does not give the money back. A person must look.
    RefundFailed { charge_id: String, refund: u32, code: String },
}

/// The progress of a call to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Call {
    /// It may still be decided not to make it.
    Planned,
    /// It may have been made.
    Begun,
    /// The gateway refused to answer it, and the event is a dead letter. Money may have moved, so only the replay
    /// of that event goes on, with the same key.
    Stuck,
}

impl Account {
    pub(super) async fn of(order_id: &OrderId, cx: &Context) -> Result<Self, Failure> {
        let new = || Self {
            order_id: order_id.clone(),
            due: None,
            has_ended: false,
            attempts: 0,
            state: State::Unpaid,
        };
        Ok(cx.get(order_id.as_str()).await?.unwrap_or_else(new))
    }

    /// The account that an event of this service's own charges is about.
    pub(super) async fn existing(order_id: &OrderId, cx: &Context) -> Result<Self, Failure> {
        cx.get(order_id.as_str())
            .await?
            .ok_or_else(|| reject(format_args!("nothing is due for order {order_id}")))
    }

    pub(super) fn due(&self) -> Result<&Due, Failure> {
        self.due.as_ref().ok_or_else(|| reject(format_args!("nothing is due for order {}", self.order_id)))
    }

    pub(super) fn is_of(&self, user: &str) -> bool {
        self.due.as_ref().is_some_and(|due| due.buyer.as_str() == user)
    }

    /// Why no charge may start now: a code for the buyer.
    pub(super) fn objection(&self, now: Timestamp) -> Option<&'static str> {
        match &self.due {
            _ if self.has_ended => Some("order_ended"),
            Some(due) if due.until.duration_since(now) >= LEAST_TIME_TO_PAY => None,
            _ => Some("too_late"),
        }
    }

    /// Begins an attempt to pay, if no other one can still succeed.
    pub(super) fn begin_payment(
        &mut self,
        _: &Confirmed,
        payment_method: PaymentMethod,
        cx: &Context,
    ) -> Result<(), Problem> {
        let conflict = |detail| Err(Problem::new(StatusCode::CONFLICT, detail));
        match (&self.state, self.objection(cx.now())) {
            (State::Pending { .. }, _) => {
                return conflict("A payment of this order is under way. Wait for its outcome.");
            }
            (State::Unpaid | State::Declined { .. }, None) => {}
            (State::Unpaid | State::Declined { .. }, Some(_)) => {
                return conflict("The time to pay this order has passed, or the order has ended.");
            }
            _ => return conflict("This order has been paid."),
        }
        self.attempts += 1;
        self.state = State::Pending { call: Call::Planned, begun_at: None };
        let (order_id, attempt) = (self.order_id.clone(), self.attempts);
        let Due { ticket_id, price: amount, .. } = self.due()?.clone();
        cx.publish(&TicketPaymentDue { order_id, ticket_id, attempt, payment_method, amount });
        Ok(())
    }

    /// Begins to refund this charge.
    pub(super) fn begin_refund_of(&mut self, charge: &str, cx: &Context) -> Result<(), Failure> {
        match self.state.charge() {
            Some(charge_id) if charge_id == charge => self.begin_refund(cx),
            _ => Err(reject(format_args!("order {} has no such charge to refund", self.order_id))),
        }
    }

    /// Begins to refund the charge, unless a refund is under way or made. After a refund that failed, this is the
    /// next attempt.
    pub(super) fn begin_refund(&mut self, cx: &Context) -> Result<(), Failure> {
        let (charge_id, attempt) = match &self.state {
            State::Paid { charge_id } => (charge_id.clone(), 1),
            State::RefundFailed { charge_id, refund, .. } => (charge_id.clone(), refund + 1),
            State::Refunding { .. } | State::Refunded { .. } => return Ok(()),
            State::Unpaid | State::Pending { .. } | State::Declined { .. } => {
                return Err(reject(format_args!("order {} has no charge to refund", self.order_id)));
            }
        };
        self.state = State::Refunding { charge_id: charge_id.clone(), refund: attempt, call: Call::Planned };
        let Due { ticket_id, price: amount, .. } = self.due()?.clone();
        cx.publish(&TicketRefundDue {
            order_id: self.order_id.clone(),
            ticket_id,
            charge_id,
            attempt,
            amount,
        });
        Ok(())
    }
}

impl State {
    /// The charge that was paid, even if it is refunded now.
    pub(super) fn charge(&self) -> Option<&str> {
        match self {
            Self::Paid { charge_id }
            | Self::Refunding { charge_id, .. }
            | Self::Refunded { charge_id }
            | Self::RefundFailed { charge_id, .. } => Some(charge_id),
            Self::Unpaid | Self::Pending { .. } | Self::Declined { .. } => None,
        }
    }
}

impl Document for Account {
    const COLLECTION: &'static str = "accounts";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
