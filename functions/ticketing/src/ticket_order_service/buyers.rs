//! Buyers: nobody keeps tickets from others by ordering them again and again.

use axum::http::StatusCode;
use events::{OrderId, TicketId, UserId};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Failure, Problem};
use serde::{Deserialize, Serialize};

use super::Order;

/// The most live orders of a buyer.
const MOST_LIVE_ORDERS: usize = 5;

/// After this many orders of a ticket have expired, the buyer has to pause.
const EXPIRIES_BEFORE_PAUSE: u32 = 2;

const PAUSE: SignedDuration = SignedDuration::from_mins(15);

/// An expiry is forgotten after this time.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Buyer {
    buyer: UserId,
    live: Vec<LiveOrder>,
    expiries: Vec<Expiries>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiveOrder {
    ticket_id: TicketId,
    order_id: OrderId,
}

/// The expired orders of a ticket.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expiries {
    ticket_id: TicketId,
    count: u32,
    last_at: Timestamp,
}

impl Buyer {
    pub(super) async fn of(user: &UserId, cx: &Context) -> Result<Self, Failure> {
        let new = || Self { buyer: user.clone(), live: Vec::new(), expiries: Vec::new() };
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
            let detail = "You let this ticket expire before. Please give others a chance first.";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds));
        }
        self.live.push(LiveOrder { ticket_id: ticket_id.clone(), order_id: order_id.clone() });
        Ok(())
    }

    /// The seconds until the buyer may order the ticket again.
    fn pause(&self, ticket_id: &TicketId, now: Timestamp) -> Option<u64> {
        let of_ticket = |expiries: &&Expiries| {
            expiries.ticket_id == *ticket_id && expiries.count >= EXPIRIES_BEFORE_PAUSE
        };
        let left = PAUSE - now.duration_since(self.expiries.iter().find(of_ticket)?.last_at);
        u64::try_from(left.as_secs()).ok().filter(|_| left.is_positive()).map(|seconds| seconds + 1)
    }

    fn note_expiry(&mut self, ticket_id: &TicketId, now: Timestamp) {
        self.expiries.retain(|expiries| now.duration_since(expiries.last_at) < REMEMBERED);
        match self.expiries.iter_mut().find(|expiries| expiries.ticket_id == *ticket_id) {
            // The pause is over, or there was none: the count begins anew.
            Some(expiries) if expiries.count >= EXPIRIES_BEFORE_PAUSE => {
                (expiries.count, expiries.last_at) = (1, now);
            }
            Some(expiries) => (expiries.count, expiries.last_at) = (expiries.count + 1, now),
            None => {
                self.expiries.push(Expiries { ticket_id: ticket_id.clone(), count: 1, last_at: now });
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
pub(super) async fn forget(order: &Order, has_expired: bool, cx: &Context) -> Result<(), Failure> {
    let mut buyer = Buyer::of(&order.buyer, cx).await?;
    buyer.live.retain(|live| live.order_id != order.order_id);
    if has_expired {
        buyer.note_expiry(&order.ticket_id, cx.now());
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
