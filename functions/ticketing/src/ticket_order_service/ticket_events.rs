//! The events about the tickets and the charges of orders, in whatever order they arrive.

use events::{
    OrderId, TicketChargeDeclined, TicketChargeRefundFailed, TicketChargeRefunded, TicketCharged, TicketId,
    TicketOrderChargeRefused, TicketOrderCompleted, TicketOrderExpiryDue, TicketRefused, TicketState,
    TicketUpdated, UserId,
};
use jiff::SignedDuration;
use pushbox::{Context, Document, Failure};
use serde::{Deserialize, Serialize};

use super::{Order, state::State};
use crate::timing::GRACE;

/// The order that a ticket is locked for, as of this version of the ticket.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    ticket_id: TicketId,
    version: u32,
    order_id: Option<OrderId>,
    /// None in documents of versions that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seller: Option<UserId>,
}

pub(super) async fn follow_ticket(ticket: TicketUpdated, cx: Context) -> Result<(), Failure> {
    let TicketUpdated { ticket_id, version, seller, state, .. } = ticket;
    let lock = match state {
        TicketState::Locked { order_id, until, .. } => Some((order_id, until)),
        TicketState::Listed | TicketState::Sold { .. } | TicketState::Withdrawn => None,
    };
    // An order awaits payment from its lock on, even if a later version of the ticket was heard of first.
    if let Some((order_id, expires_at)) = &lock {
        let mut order = Order::existing(order_id, &cx).await?;
        if order.state == State::Pending {
            order.state = State::AwaitingPayment { expires_at: *expires_at, declined: None };
            cx.put(&order);
        }
    }
    let known: Option<Lock> = cx.get(ticket_id.as_str()).await?;
    if known.is_none_or(|known| known.version < version) {
        let order_id = lock.map(|(order_id, _)| order_id);
        cx.put(&Lock { ticket_id, version, order_id, seller: Some(seller) });
    }
    Ok(())
}

/// The order that a ticket may still be locked for although the order has lost it. An order whose time has passed
/// ends here.
pub(super) async fn predecessor(
    next: &Order,
    time_to_pay: SignedDuration,
    cx: &Context,
) -> Result<Option<OrderId>, Failure> {
    let lock: Option<Lock> = cx.get(next.ticket_id.as_str()).await?;
    let Some(Lock { order_id: Some(order_id), seller, .. }) = lock else { return Ok(None) };
    let mut order = Order::existing(&order_id, cx).await?;
    // An order that cannot have the ticket anyway does not end one whose charge may be on its way.
    let can_win =
        next.price == order.price && next.buyer != order.buyer && seller.as_ref() != Some(&next.buyer);
    let patience = if can_win { SignedDuration::ZERO } else { GRACE };
    if order.state.is_overdue(cx.now(), patience) {
        order.expire(time_to_pay, cx).await?;
    }
    Ok(order.state.has_lost().then_some(order_id))
}

pub(super) async fn refuse(refused: TicketRefused, cx: Context) -> Result<(), Failure> {
    let mut order = Order::existing(&refused.order_id, &cx).await?;
    if order.state == State::Pending {
        order.end(State::Refused { refusal: refused.reason }, SignedDuration::ZERO, &cx).await?;
    }
    Ok(())
}

/// This looks at no clock, because the timer may be early or late: it compares the order's state and deadline with
/// those that the timer was set for.
pub(super) async fn expiry_due(
    due: TicketOrderExpiryDue,
    time_to_pay: SignedDuration,
    cx: Context,
) -> Result<(), Failure> {
    let mut order = Order::existing(&due.order_id, &cx).await?;
    let is_due = match &order.state {
        // There was a lock, and its news comes after its end.
        State::Pending => true,
        State::AwaitingPayment { expires_at, .. } => *expires_at == due.until,
        _ => false,
    };
    if is_due { order.expire(time_to_pay, &cx).await } else { Ok(()) }
}

/// The news of the lock may come later than that of the charge.
pub(super) async fn complete(
    charged: TicketCharged,
    time_to_pay: SignedDuration,
    cx: Context,
) -> Result<(), Failure> {
    let TicketCharged { order_id, ticket_id, charge_id, amount } = charged;
    let mut order = Order::existing(&order_id, &cx).await?;
    if order.state.charge() == Some(&charge_id) {
        return Ok(());
    }
    if order.state.is_overdue(cx.now(), GRACE) {
        order.expire(time_to_pay, &cx).await?;
    }
    if !order.state.is_live() || amount != order.price {
        cx.publish(&TicketOrderChargeRefused { order_id, ticket_id, charge_id });
        return Ok(());
    }
    let completed = State::Completed { charge_id: charge_id.clone(), completed_at: cx.now() };
    order.end(completed, SignedDuration::ZERO, &cx).await?;
    cx.publish(&TicketOrderCompleted { order_id, ticket_id, price: order.price, charge_id });
    Ok(())
}

/// The order stays as it is: the buyer may pay in another way.
pub(super) async fn note_decline(declined: TicketChargeDeclined, cx: Context) -> Result<(), Failure> {
    let mut order = Order::existing(&declined.order_id, &cx).await?;
    if let State::AwaitingPayment { declined: code, .. } = &mut order.state {
        *code = Some(declined.code);
        cx.put(&order);
    }
    Ok(())
}

/// A charge that the order did not take is refunded, too. That changes no order.
pub(super) async fn note_refund(refunded: TicketChargeRefunded, cx: Context) -> Result<(), Failure> {
    let mut order = Order::existing(&refunded.order_id, &cx).await?;
    if let State::Refunding { charge_id, .. } = &order.state
        && *charge_id == refunded.charge_id
    {
        order.state = State::Refunded { charge_id: refunded.charge_id };
        cx.put(&order);
    }
    Ok(())
}

pub(super) async fn note_refund_failure(
    failed: TicketChargeRefundFailed,
    cx: Context,
) -> Result<(), Failure> {
    let mut order = Order::existing(&failed.order_id, &cx).await?;
    if let State::Refunding { charge_id, failed: code } = &mut order.state
        && *charge_id == failed.charge_id
    {
        *code = Some(failed.code);
        cx.put(&order);
    }
    Ok(())
}

impl Document for Lock {
    const COLLECTION: &'static str = "locks";
    fn id(&self) -> String {
        self.ticket_id.to_string()
    }
}
