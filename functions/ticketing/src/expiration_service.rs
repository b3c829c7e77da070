//! Timers: one for each locked ticket, due when the time to pay has passed.

use events::{
    OrderId, TicketOrderCancelled, TicketOrderCompleted, TicketOrderExpired, TicketOrderExpiryDue,
    TicketState, TicketUpdated,
};
use pushbox::{Context, Failure, Service};

use crate::timing::GRACE;

pub fn service() -> Service {
    Service::new("expiration-service", "sets a timer for each locked ticket")
        .on(set_timer)
        .on(|TicketOrderCancelled { order_id, .. }, cx| cancel_timer(order_id, cx))
        .on(|TicketOrderExpired { order_id, .. }, cx| cancel_timer(order_id, cx))
        .on(|TicketOrderCompleted { order_id, .. }, cx| cancel_timer(order_id, cx))
        .delays::<TicketOrderExpiryDue>()
}

async fn set_timer(ticket: TicketUpdated, cx: Context) -> Result<(), Failure> {
    // An order has one lock, so its id names the timer.
    if let TicketState::Locked { order_id, until, .. } = ticket.state {
        let due = until.saturating_add(GRACE)?;
        let id = order_id.to_string();
        cx.publish_at_named(&TicketOrderExpiryDue { order_id, until }, due, &id);
    }
    Ok(())
}

/// If this comes before the lock does, the timer fires, and its event finds that the order has ended.
async fn cancel_timer(order_id: OrderId, cx: Context) -> Result<(), Failure> {
    cx.cancel::<TicketOrderExpiryDue>(order_id.as_str());
    Ok(())
}
