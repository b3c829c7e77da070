//! Tickets: one document for each. It alone decides who gets the ticket.

mod locks;
mod offers;

use events::{
    Money, OrderId, TicketCreated, TicketId, TicketOrderExpired, TicketRefused, TicketState, TicketTitle,
    TicketUpdated, UserId,
};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Service};
use serde::{Deserialize, Serialize};

use crate::caller::end_session;
use locks::{cancel, lock_ticket, refund, release, sell};
use offers::{edit, list, offer, show, withdraw};

/// `lock` is the time to pay an order.
pub fn service(lock: SignedDuration) -> Service {
    Service::new("ticket-service", "keeps the tickets and decides who gets them")
        .public()
        .signed_in()
        .on(end_session)
        .on(move |order, cx| lock_ticket(order, lock, cx))
        .on(cancel)
        .on(|TicketOrderExpired { order_id, ticket_id }, cx| release(order_id, ticket_id, cx))
        .on(sell)
        .on(refund)
        .publishes::<TicketCreated>()
        .publishes::<TicketUpdated>()
        .publishes::<TicketRefused>()
        .post("/tickets", offer)
        .get("/tickets", list)
        .get("/tickets/{id}", show)
        .put("/tickets/{id}", edit)
        .delete("/tickets/{id}", withdraw)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    ticket_id: TicketId,
    seller: UserId,
    title: TicketTitle,
    price: Money,
    version: u32,
    state: TicketState,
    /// Whether it is listed or locked. The list of tickets selects by this.
    on_offer: bool,
}

impl Ticket {
    /// The order that has the ticket, if there is one.
    fn holder(&self) -> Option<&OrderId> {
        match &self.state {
            TicketState::Locked { order_id, .. } | TicketState::Sold { order_id } => Some(order_id),
            TicketState::Listed | TicketState::Withdrawn => None,
        }
    }

    /// Whether an order can have it. A lock that has run out does not count: a new order takes it over.
    fn is_buyable(&self, now: Timestamp) -> bool {
        match &self.state {
            TicketState::Listed => true,
            TicketState::Locked { until, .. } => *until <= now,
            TicketState::Sold { .. } | TicketState::Withdrawn => false,
        }
    }

    /// Stages the next version of the ticket, and announces it.
    fn change(&mut self, state: TicketState, cx: &Context) {
        self.version = self.version.saturating_add(1);
        self.on_offer = matches!(state, TicketState::Listed | TicketState::Locked { .. });
        self.state = state;
        cx.put(self);
        cx.publish(&TicketUpdated {
            ticket_id: self.ticket_id.clone(),
            version: self.version,
            seller: self.seller.clone(),
            title: self.title.clone(),
            price: self.price.clone(),
            state: self.state.clone(),
        });
    }
}

impl Document for Ticket {
    const COLLECTION: &'static str = "tickets";
    fn id(&self) -> String {
        self.ticket_id.to_string()
    }
}
