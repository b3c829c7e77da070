//! The effect that refunds a charge, and what happens if the gateway does not refund it.

use effects::payments::{Gateway, Refund, RefundOutcome};
use events::{TicketChargeRefundFailed, TicketChargeRefunded, TicketRefundDue};
use pushbox::{Context, Effect, Failure, reject};

use super::account::{Account, Call, State};

pub(super) struct Refunding {
    gateway: Gateway,
}

impl Refunding {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }
}

impl Effect for Refunding {
    type Event = TicketRefundDue;
    type Call = TicketRefundDue;
    type Outcome = RefundOutcome;

    const SECRETS: &[&str] = &[Gateway::SECRET];

    async fn claim(&self, due: TicketRefundDue, cx: Context) -> Result<Option<TicketRefundDue>, Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        match &mut account.state {
            State::Refunding { charge_id, refund, call }
                if *charge_id == due.charge_id && *refund == due.attempt && *call != Call::Begun =>
            {
                *call = Call::Begun;
            }
            // Another event about the refund, for example published by hand.
            _ => return Ok(None),
        }
        cx.put(&account);
        Ok(Some(due))
    }

    /// The runtime's key would be another one for a replay after a refusal.
    async fn perform(&self, due: TicketRefundDue, _: String) -> Result<RefundOutcome, Failure> {
        let key = format!("{}-refund-{}", due.charge_id, due.attempt);
        let TicketRefundDue { order_id, charge_id, amount, .. } = due;
        self.gateway.clone().refund(Refund { charge_id, amount, reference: order_id.into() }, key).await
    }

    async fn complete(
        &self,
        due: TicketRefundDue,
        outcome: RefundOutcome,
        cx: Context,
    ) -> Result<(), Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        let TicketRefundDue { order_id, ticket_id, charge_id, attempt: refund, amount } = due;
        match outcome {
            RefundOutcome::Refunded { .. } => {
                account.state = State::Refunded { charge_id: charge_id.clone() };
                cx.publish(&TicketChargeRefunded { order_id, ticket_id, charge_id, amount });
            }
            RefundOutcome::Failed { code } => {
                let charge = charge_id.clone();
                account.state = State::RefundFailed { charge_id: charge, refund, code: code.clone() };
                cx.publish(&TicketChargeRefundFailed { order_id, charge_id, code });
            }
        }
        cx.put(&account);
        Ok(())
    }

    /// The refund stays open, because nobody knows whether it was made.
    async fn abandon(&self, due: TicketRefundDue, cx: Context) -> Result<(), Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        let TicketRefundDue { charge_id, attempt: refund, .. } = due;
        account.state = State::Refunding { charge_id, refund, call: Call::Stuck };
        cx.put(&account);
        Ok(())
    }
}

/// Rejects the event, so that a dead letter and an alert exist. To try the refund again, publish
/// `ticket-order.cancelled` (or `ticket-order.charge-refused`) once more with a new id. When the charge is refunded,
/// replay this letter.
pub(super) async fn report_failure(failed: TicketChargeRefundFailed, cx: Context) -> Result<(), Failure> {
    let TicketChargeRefundFailed { order_id, charge_id, code } = failed;
    match Account::existing(&order_id, &cx).await?.state {
        State::RefundFailed { charge_id: charge, .. } if charge == charge_id => Err(reject(format_args!(
            "the gateway does not refund charge {charge_id} of order {order_id}: {code}"
        ))),
        _ => Ok(()),
    }
}
