//! Buyers: nobody keeps tickets from others by ordering them again and again.

use axum::http::StatusCode;
use events::{OrderId, TicketId, UserId};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Context, Document, Failure, Problem};
use serde::{Deserialize, Serialize};

use super::Order;

/// The most live orders of a buyer.
const MOST_LIVE_ORDERS: usize = 5;

/// After orders that have held a ticket for this many times to pay, the buyer has to pause.
const LOCKS_BEFORE_PAUSE: i32 = 2;

const PAUSE: SignedDuration = SignedDuration::from_mins(15);

/// Holds are forgotten after this time without another one.
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

/// The holds of a ticket: orders that kept it from others and were cancelled, expired or given back. Their times are
/// summed. A count of orders would forgive short ones, and a buyer can place many.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holds {
    ticket_id: TicketId,
    /// Earlier versions counted the orders.
    #[serde(default)]
    held_milliseconds: i64,
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
        lock: SignedDuration,
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
        if let Some(spent) = self.holds.iter().position(|it| it.ticket_id == *ticket_id && it.is_spent(lock))
        {
            if let Some(seconds) = self.holds[spent].pause(now) {
                let detail =
                    "You have held this ticket before and not bought it. Please give others a chance first.";
                return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds));
            }
            // The pause is over: the sum begins anew.
            self.holds.remove(spent);
        }
        self.live.push(LiveOrder { ticket_id: ticket_id.clone(), order_id: order_id.clone() });
        Ok(())
    }

    fn note_hold(&mut self, ticket_id: &TicketId, held: SignedDuration, now: Timestamp) {
        self.holds.retain(|holds| now.duration_since(holds.last_at) < REMEMBERED);
        let held_milliseconds = i64::try_from(held.as_millis()).unwrap_or(i64::MAX);
        if let Some(holds) = self.holds.iter_mut().find(|holds| holds.ticket_id == *ticket_id) {
            holds.held_milliseconds = holds.held_milliseconds.saturating_add(held_milliseconds);
            holds.last_at = now;
        } else {
            self.holds.push(Holds { ticket_id: ticket_id.clone(), held_milliseconds, last_at: now });
        }
    }

    /// The live orders, if there is no place for another one.
    pub(super) fn too_many(&self) -> Vec<OrderId> {
        let is_full = self.live.len() >= MOST_LIVE_ORDERS;
        self.live.iter().filter(|_| is_full).map(|live| live.order_id.clone()).collect()
    }
}

impl Holds {
    fn is_spent(&self, lock: SignedDuration) -> bool {
        SignedDuration::from_millis(self.held_milliseconds) >= lock * LOCKS_BEFORE_PAUSE
    }

    /// The seconds until the buyer may order the ticket again.
    fn pause(&self, now: Timestamp) -> Option<u64> {
        let left = PAUSE - now.duration_since(self.last_at);
        u64::try_from(left.as_secs()).ok().filter(|_| left.is_positive()).map(|seconds| seconds + 1)
    }
}

/// Removes an order that ends from its buyer's live orders. It kept the ticket from others for the time `held`, and did
/// not buy it.
pub(super) async fn note_end(order: &Order, held: SignedDuration, cx: &Context) -> Result<(), Failure> {
    let mut buyer = Buyer::of(&order.buyer, cx).await?;
    buyer.live.retain(|live| live.order_id != order.order_id);
    if held.is_positive() {
        buyer.note_hold(&order.ticket_id, held, cx.now());
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
