//! Buyers: nobody keeps tickets from others by ordering them again and again.

use axum::http::StatusCode;
use events::{OrderId, TicketId, UserId};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Failure, Problem};
use serde::{Deserialize, Serialize};

use super::Order;

/// The most live orders of a buyer.
const MOST_LIVE_ORDERS: usize = 5;

/// After this many holds of a ticket, the buyer has to pause.
const HOLDS_BEFORE_PAUSE: u32 = 2;

const PAUSE: SignedDuration = SignedDuration::from_mins(15);

/// A hold is forgotten after this time.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Buyer {
    buyer: UserId,
    live: Vec<LiveOrder>,
    holds: Vec<Holds>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiveOrder {
    ticket_id: TicketId,
    order_id: OrderId,
}

/// The holds of a ticket: orders that kept it from others and were not paid.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holds {
    ticket_id: TicketId,
    count: u32,
    last_at: Timestamp,
}

impl Buyer {
    pub(super) async fn of(user: &UserId, cx: &Context) -> Result<Self, Failure> {
        let new = || Self { buyer: user.clone(), live: Vec::new(), holds: Vec::new() };
        Ok(cx.get(user.as_str()).await?.unwrap_or_else(new))
    }

    /// Notes a new order, or says why the buyer cannot have it now.
    pub(super) fn add(
        &mut self,
        ticket_id: &TicketId,
        order_id: &OrderId,
        now: Timestamp,
    ) -> Result<(), Problem> {
        if let Some(live) = self.live.iter().find(|live| live.ticket_id == *ticket_id) {
            let detail = format!("You have an order for this ticket already: orders/{}.", live.order_id);
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        if self.live.len() >= MOST_LIVE_ORDERS {
            let detail =
                format!("You can have {MOST_LIVE_ORDERS} orders at a time. Please pay or cancel one.");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        if let Some(seconds) = self.pause(ticket_id, now) {
            let detail = "You have held this ticket before and not paid. Please give others a chance first.";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds));
        }
        self.live.push(LiveOrder { ticket_id: ticket_id.clone(), order_id: order_id.clone() });
        Ok(())
    }

    /// The seconds until the buyer may order the ticket again.
    fn pause(&self, ticket_id: &TicketId, now: Timestamp) -> Option<u64> {
        let of_ticket = |holds: &&Holds| holds.ticket_id == *ticket_id && holds.count >= HOLDS_BEFORE_PAUSE;
        let left = PAUSE - now.duration_since(self.holds.iter().find(of_ticket)?.last_at);
        u64::try_from(left.as_secs()).ok().filter(|_| left.is_positive()).map(|seconds| seconds + 1)
    }

    fn note_hold(&mut self, ticket_id: &TicketId, now: Timestamp) {
        self.holds.retain(|holds| now.duration_since(holds.last_at) < REMEMBERED);
        match self.holds.iter_mut().find(|holds| holds.ticket_id == *ticket_id) {
            // The pause is over, or there was none: the count begins anew.
            Some(holds) if holds.count >= HOLDS_BEFORE_PAUSE => {
                (holds.count, holds.last_at) = (1, now);
            }
            Some(holds) => (holds.count, holds.last_at) = (holds.count + 1, now),
            None => {
                self.holds.push(Holds { ticket_id: ticket_id.clone(), count: 1, last_at: now });
            }
        }
    }

    /// The live orders, if there is no place for another one.
    pub(super) fn too_many(&self) -> Vec<OrderId> {
        let is_full = self.live.len() >= MOST_LIVE_ORDERS;
        self.live.iter().filter(|_| is_full).map(|live| live.order_id.clone()).collect()
    }
}

/// Removes an order that ends from its buyer's live orders.
pub(super) async fn forget(order: &Order, was_hold: bool, cx: &Context) -> Result<(), Failure> {
    let mut buyer = Buyer::of(&order.buyer, cx).await?;
    buyer.live.retain(|live| live.order_id != order.order_id);
    if was_hold {
        buyer.note_hold(&order.ticket_id, cx.now());
    }
    cx.put(&buyer);
    Ok(())
}

impl Document for Buyer {
    const COLLECTION: &'static str = "buyers";
    fn id(&self) -> String {
        self.buyer.to_string()
    }
}
