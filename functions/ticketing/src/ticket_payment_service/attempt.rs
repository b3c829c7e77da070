//! The effect that charges a payment method: one attempt to pay an order.

use effects::payments::{Gateway, Outcome, Payment};
use events::{TicketChargeDeclined, TicketCharged, TicketPaymentDue, TicketPaymentLeftOpen};
use pushbox::{Context, Effect, Failure};

use super::account::{Account, Call, State};

pub(super) struct Attempt {
    gateway: Gateway,
}

impl Attempt {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }
}

impl Effect for Attempt {
    type Event = TicketPaymentDue;
    type Call = TicketPaymentDue;
    type Outcome = Outcome;

    const SECRETS: &[&str] = &[Gateway::SECRET];

    async fn claim(&self, due: TicketPaymentDue, cx: Context) -> Result<Option<TicketPaymentDue>, Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        let State::Pending { call } = account.state else { return Ok(None) };
        // Another event about the attempt, for example published by hand.
        if account.attempts != due.attempt || call == Call::Begun {
            return Ok(None);
        }
        if call == Call::Planned
            && let Some(objection) = account.objection(cx.now())
        {
            decline(account, objection.to_owned(), &cx);
            return Ok(None);
        }
        account.state = State::Pending { call: Call::Begun };
        cx.put(&account);
        Ok(Some(due))
    }

    /// The runtime's key would be another one for a replay after a refusal.
    async fn perform(&self, due: TicketPaymentDue, _: String) -> Result<Outcome, Failure> {
        let key = format!("{}-{}", due.order_id, due.attempt);
        let TicketPaymentDue { order_id, payment_method, amount, .. } = due;
        let payment = Payment { amount, method: payment_method.into(), reference: order_id.into() };
        self.gateway.clone().charge(payment, key).await
    }

    async fn complete(&self, due: TicketPaymentDue, outcome: Outcome, cx: Context) -> Result<(), Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        let TicketPaymentDue { order_id, ticket_id, amount, .. } = due;
        match outcome {
            // Whatever the order has become: it decides whether it takes the charge.
            Outcome::Paid { id: charge_id } => {
                account.state = State::Paid { charge_id: charge_id.clone() };
                cx.put(&account);
                cx.publish(&TicketCharged { order_id, ticket_id, charge_id, amount });
            }
            Outcome::Declined { id, code } => {
                decline(account, code, &cx);
                if let Some(charge_id) = id {
                    cx.publish(&TicketPaymentLeftOpen { order_id, charge_id });
                }
            }
        }
        Ok(())
    }

    /// The attempt stays open, because nobody knows whether money was taken.
    async fn abandon(&self, due: TicketPaymentDue, cx: Context) -> Result<(), Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        account.state = State::Pending { call: Call::Stuck };
        cx.put(&account);
        Ok(())
    }
}

fn decline(mut account: Account, code: String, cx: &Context) {
    account.state = State::Declined { code: code.clone() };
    cx.put(&account);
    cx.publish(&TicketChargeDeclined { order_id: account.order_id, code });
}
