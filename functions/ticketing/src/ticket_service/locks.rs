//! The orders of tickets. An order gets the lock of its ticket or is refused. It gives the lock back, or the
//! ticket is sold to it.

use events::{
    OrderId, TicketChargeRefunded, TicketId, TicketOrderCancelled, TicketOrderCompleted, TicketOrderCreated,
    TicketRefusal, TicketRefused, TicketState,
};
use jiff::SignedDuration;
use pushbox::{Context, Document, Failure};
use serde::{Deserialize, Serialize};

use super::Ticket;

/// An order that this service has heard of. It gets one answer. If it has ended before, it gets no lock at all.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeardOrder {
    order_id: OrderId,
    /// The buyer gave the ticket back after paying.
    given_back: bool,
    /// A charge of the order was refunded.
    refunded: bool,
    /// The charge that paid for the ticket that was given back. None if its event named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned_charge: Option<String>,
    /// The charges of the order that were refunded. Earlier versions noted only that there was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refunded_charges: Vec<String>,
}

pub(super) async fn lock_ticket(
    order: TicketOrderCreated,
    lock: SignedDuration,
    cx: Context,
) -> Result<(), Failure> {
    let TicketOrderCreated { order_id, ticket_id, buyer, .. } = order.clone();
    // Also another event about the same order, for example published by hand, changes nothing.
    if cx.create(&HeardOrder::new(order_id.clone())).exists() {
        return Ok(());
    }
    let ticket: Option<Ticket> = cx.get(ticket_id.as_str()).await?;
    match ticket.ok_or(TicketRefusal::UnknownTicket).and_then(|ticket| ticket.accept(&order)) {
        Ok(mut ticket) => {
            let (until, price) = (cx.now().saturating_add(lock)?, ticket.price.clone());
            ticket.change(TicketState::Locked { order_id, buyer, until, price }, &cx);
        }
        Err(reason) => cx.publish(&TicketRefused { ticket_id, order_id, reason }),
    }
    Ok(())
}

pub(super) async fn cancel(cancelled: TicketOrderCancelled, cx: Context) -> Result<(), Failure> {
    let TicketOrderCancelled { order_id, ticket_id, refund, charge_id, .. } = cancelled;
    if !refund {
        return release(order_id, ticket_id, cx).await;
    }
    let mut order = HeardOrder::of(order_id, &cx).await?;
    (order.given_back, order.returned_charge) = (true, charge_id);
    order.list_again(&ticket_id, &cx).await
}

/// This can come before the order's cancellation. It also comes for a charge that an order did not take.
pub(super) async fn refund(refunded: TicketChargeRefunded, cx: Context) -> Result<(), Failure> {
    let TicketChargeRefunded { order_id, ticket_id, charge_id, .. } = refunded;
    let mut order = HeardOrder::of(order_id, &cx).await?;
    order.refunded = true;
    if !order.refunded_charges.contains(&charge_id) {
        order.refunded_charges.push(charge_id);
    }
    order.list_again(&ticket_id, &cx).await
}

/// The order has ended without the ticket.
pub(super) async fn release(order_id: OrderId, ticket_id: TicketId, cx: Context) -> Result<(), Failure> {
    let order = HeardOrder::of(order_id, &cx).await?;
    cx.put(&order);
    unlock(&order.order_id, &ticket_id, &cx).await
}

pub(super) async fn sell(completed: TicketOrderCompleted, cx: Context) -> Result<(), Failure> {
    let TicketOrderCompleted { order_id, ticket_id, .. } = completed;
    let ticket: Option<Ticket> = cx.get(ticket_id.as_str()).await?;
    // Without the lock, the order has given the ticket back, and this news is late.
    if let Some(mut ticket) = ticket
        && matches!(&ticket.state, TicketState::Locked { order_id: holder, .. } if *holder == order_id)
    {
        ticket.change(TicketState::Sold { order_id }, &cx);
    }
    Ok(())
}

/// Lists the ticket again, if the order has it. Another order may have it by now.
async fn unlock(order_id: &OrderId, ticket_id: &TicketId, cx: &Context) -> Result<(), Failure> {
    let ticket: Option<Ticket> = cx.get(ticket_id.as_str()).await?;
    if let Some(mut ticket) = ticket
        && ticket.holder() == Some(order_id)
    {
        ticket.change(TicketState::Listed, cx);
    }
    Ok(())
}

impl Ticket {
    /// Returns the ticket if the order can have it.
    fn accept(self, order: &TicketOrderCreated) -> Result<Self, TicketRefusal> {
        if self.seller == order.buyer {
            return Err(TicketRefusal::OwnTicket);
        }
        match &self.state {
            TicketState::Locked { order_id, .. } if order.instead_of.as_ref() != Some(order_id) => {
                Err(TicketRefusal::Taken)
            }
            TicketState::Sold { .. } => Err(TicketRefusal::Taken),
            TicketState::Withdrawn => Err(TicketRefusal::NotForSale),
            _ if self.price != order.expected_price => {
                Err(TicketRefusal::PriceChanged { price: self.price.clone() })
            }
            TicketState::Listed | TicketState::Locked { .. } => Ok(self),
        }
    }
}

impl HeardOrder {
    fn new(order_id: OrderId) -> Self {
        Self {
            order_id,
            given_back: false,
            refunded: false,
            returned_charge: None,
            refunded_charges: Vec::new(),
        }
    }

    async fn of(order_id: OrderId, cx: &Context) -> Result<Self, Failure> {
        Ok(cx.get(order_id.as_str()).await?.unwrap_or_else(|| Self::new(order_id)))
    }

    /// Lists the ticket again once the buyer has given it back and got the money.
    async fn list_again(self, ticket_id: &TicketId, cx: &Context) -> Result<(), Failure> {
        cx.put(&self);
        let is_refunded = match &self.returned_charge {
            Some(charge) if !self.refunded_charges.is_empty() => self.refunded_charges.contains(charge),
            _ => self.refunded,
        };
        if self.given_back && is_refunded { unlock(&self.order_id, ticket_id, cx).await } else { Ok(()) }
    }
}

impl Document for HeardOrder {
    const COLLECTION: &'static str = "orders";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
