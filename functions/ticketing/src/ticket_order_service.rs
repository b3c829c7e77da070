//! Orders of tickets. Each order ends once, and this service decides how.

mod buyers;
mod desk;
mod state;
mod ticket_events;

use events::{
    Money, OrderId, TicketId, TicketOrderCancelled, TicketOrderChargeRefused, TicketOrderCompleted,
    TicketOrderCreated, TicketOrderExpired, UserId,
};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Failure, Service, reject};
use serde::{Deserialize, Serialize};

use crate::caller::end_session;
use desk::{cancel, list, place, show};
use state::State;
use ticket_events::{
    complete, expiry_due, follow_ticket, note_decline, note_refund, note_refund_failure, refuse,
};

/// A paid order can be cancelled within the time `refundable`.
pub fn service(refundable: SignedDuration) -> Service {
    Service::new("ticket-order-service", "takes orders of tickets and ends each of them once")
        .public()
        .signed_in()
        .on(end_session)
        .on(follow_ticket)
        .on(refuse)
        .on(expiry_due)
        .on(complete)
        .on(note_decline)
        .on(note_refund)
        .on(note_refund_failure)
        .publishes::<TicketOrderCreated>()
        .publishes::<TicketOrderCancelled>()
        .publishes::<TicketOrderExpired>()
        .publishes::<TicketOrderCompleted>()
        .publishes::<TicketOrderChargeRefused>()
        .post("/orders", place)
        .get("/orders", list)
        .get("/orders/{id}", show)
        .delete("/orders/{id}", move |user, id, command| cancel(user, id, command, refundable))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: OrderId,
    ticket_id: TicketId,
    buyer: UserId,
    /// The price that the buyer saw. The ticket is locked at this price or not at all.
    price: Money,
    created_at: Timestamp,
    #[serde(flatten)]
    state: State,
}

/// A buyer who cancels sooner has only changed their mind.
const SHORT_HOLD: SignedDuration = SignedDuration::from_mins(2);

impl Order {
    /// The order that an event is about. Only this service makes orders, so an event about another one is made up.
    async fn existing(id: &OrderId, cx: &Context) -> Result<Self, Failure> {
        cx.get(id.as_str()).await?.ok_or_else(|| reject(format_args!("there is no order {id}")))
    }

    /// Stages the end of a live order. The buyer may order the ticket again.
    async fn end(&mut self, state: State, cx: &Context) -> Result<(), Failure> {
        let has_had_time = cx.now().duration_since(self.created_at) >= SHORT_HOLD;
        let was_hold = match state {
            State::Expired => true,
            // Otherwise a buyer could cancel and order again just before the deadline, as often as they like.
            State::Cancelled => matches!(self.state, State::AwaitingPayment { .. }) && has_had_time,
            _ => false,
        };
        buyers::forget(self, was_hold, cx).await?;
        self.state = state;
        cx.put(self);
        Ok(())
    }

    async fn expire(&mut self, cx: &Context) -> Result<(), Failure> {
        self.end(State::Expired, cx).await?;
        let (order_id, ticket_id) = (self.order_id.clone(), self.ticket_id.clone());
        cx.publish(&TicketOrderExpired { order_id, ticket_id });
        Ok(())
    }
}

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
