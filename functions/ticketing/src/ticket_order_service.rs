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

/// `lock` is the time to pay an order. A paid order can be cancelled within the time `refundable`.
pub fn service(lock: SignedDuration, refundable: SignedDuration) -> Service {
    let times = Times { lock, refundable };
    Service::new("ticket-order-service", "takes orders of tickets, and decides how each order ends")
        .public()
        .signed_in()
        .on(end_session)
        .on(follow_ticket)
        .on(refuse)
        .on(move |due, cx| expiry_due(due, lock, cx))
        .on(move |charged, cx| complete(charged, lock, cx))
        .on(note_decline)
        .on(note_refund)
        .on(note_refund_failure)
        .publishes::<TicketOrderCreated>()
        .publishes::<TicketOrderCancelled>()
        .publishes::<TicketOrderExpired>()
        .publishes::<TicketOrderCompleted>()
        .publishes::<TicketOrderChargeRefused>()
        .post("/orders", move |user, command| place(user, command, lock))
        .get("/orders", list)
        .get("/orders/{id}", show)
        .delete("/orders/{id}", move |user, id, command| cancel(user, id, command, times))
}

/// The times that the configuration sets.
#[derive(Clone, Copy)]
struct Times {
    lock: SignedDuration,
    refundable: SignedDuration,
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

impl Order {
    /// The order that an event is about. Only this service makes orders, so an event about another one is made up.
    async fn existing(id: &OrderId, cx: &Context) -> Result<Self, Failure> {
        cx.get(id.as_str()).await?.ok_or_else(|| reject(format_args!("there is no order {id}")))
    }

    /// Stages the end of a live order, which has kept the ticket from others for the time `held` and did not buy it.
    async fn end(&mut self, state: State, held: SignedDuration, cx: &Context) -> Result<(), Failure> {
        buyers::note_end(self, held, cx).await?;
        self.state = state;
        cx.put(self);
        Ok(())
    }

    /// The news that the buyer has cancelled it. If this charge has paid it, it must be refunded.
    fn cancelled(&self, charge_id: Option<String>) -> TicketOrderCancelled {
        let (order_id, ticket_id, by) = (self.order_id.clone(), self.ticket_id.clone(), self.buyer.clone());
        TicketOrderCancelled { order_id, ticket_id, by, refund: charge_id.is_some(), charge_id }
    }

    /// The order held its ticket for a whole `lock`. Timers may be late and clocks differ, so the time now does not
    /// count.
    async fn expire(&mut self, lock: SignedDuration, cx: &Context) -> Result<(), Failure> {
        self.end(State::Expired, lock, cx).await?;
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
