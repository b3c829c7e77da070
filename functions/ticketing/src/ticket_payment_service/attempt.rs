//! The effect that charges a payment method: one attempt to pay an order.

use effects::payments::{Deadline, Gateway, Outcome, Payment};
use events::{TicketChargeDeclined, TicketCharged, TicketPaymentDue, TicketPaymentLeftOpen};
use pushbox::{Context, Effect, Failure};
use serde::{Deserialize, Serialize};

use super::account::{Account, Call, State};

pub(super) struct Attempt {
    gateway: Gateway,
}

impl Attempt {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Charging {
    #[serde(flatten)]
    due: TicketPaymentDue,
    /// None if an earlier version of this service has begun the charge. Then Stripe knows its key for a call that
    /// confirms at once, and refuses it for any other.
    #[serde(default)]
    deadline: Option<Deadline>,
}

impl Effect for Attempt {
    type Event = TicketPaymentDue;
    type Call = Charging;
    type Outcome = Outcome;

    const SECRETS: &[&str] = &[Gateway::SECRET];

    async fn claim(&self, due: TicketPaymentDue, cx: Context) -> Result<Option<Charging>, Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        let State::Pending { call, begun_at } = account.state else { return Ok(None) };
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
        let begun_at = if call == Call::Planned { Some(cx.now()) } else { begun_at };
        account.state = State::Pending { call: Call::Begun, begun_at };
        cx.put(&account);
        let until = account.due()?.until;
        Ok(Some(Charging { due, deadline: begun_at.map(|begun_at| Deadline { until, begun_at }) }))
    }

    /// The runtime's key would be another one for a replay after a refusal.
    async fn perform(&self, Charging { due, deadline }: Charging, _: String) -> Result<Outcome, Failure> {
        let key = format!("{}-{}", due.order_id, due.attempt);
        let TicketPaymentDue { order_id, payment_method, amount, .. } = due;
        let payment = Payment { amount, method: payment_method.into(), reference: order_id.into() };
        match deadline {
            Some(deadline) => self.gateway.clone().charge_until(payment, deadline, key).await,
            None => self.gateway.clone().charge(payment, key).await,
        }
    }

    async fn complete(
        &self,
        Charging { due, .. }: Charging,
        outcome: Outcome,
        cx: Context,
    ) -> Result<(), Failure> {
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
    async fn abandon(&self, Charging { due, deadline }: Charging, cx: Context) -> Result<(), Failure> {
        let mut account = Account::existing(&due.order_id, &cx).await?;
        let begun_at = deadline.map(|deadline| deadline.begun_at);
        account.state = State::Pending { call: Call::Stuck, begun_at };
        cx.put(&account);
        Ok(())
    }
}

fn decline(mut account: Account, code: String, cx: &Context) {
    account.state = State::Declined { code: code.clone() };
    cx.put(&account);
    cx.publish(&TicketChargeDeclined { order_id: account.order_id, code });
}
