//! The routes: buyers place, see and cancel their orders. An order exists only for its buyer.

use axum::{Json, extract::Path, http::StatusCode};
use events::{Money, OrderId, TicketId, TicketOrderCreated, UserId};
use jiff::{SignedDuration, Timestamp};
use pushbox::{
    Command, Confirmed, Context, Documents, Failure, FieldErrors, Page, PageQuery, Problem, Reply, SignedIn,
};
use serde::{Deserialize, Serialize};

use super::{
    Order, Times,
    buyers::{Buyer, note_end},
    state::State,
    ticket_events::predecessor,
};
use crate::{
    caller::{Nothing, user_id},
    price::NewPrice,
    timing::GRACE,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewOrder {
    #[serde(default)]
    ticket_id: String,
    #[serde(default)]
    expected_price: NewPrice,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderView {
    order_id: OrderId,
    ticket_id: TicketId,
    status: &'static str,
    price: Money,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// The time to pay, by the service's clock. The caller's clock may be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The present price of the ticket, if that is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_price: Option<Money>,
}

pub(super) async fn place(
    user: SignedIn,
    command: Command<NewOrder>,
    lock: SignedDuration,
) -> Result<Reply, Problem> {
    let NewOrder { ticket_id, expected_price } = &command.body;
    let mut errors = FieldErrors::default();
    let ticket_id = errors.parse("/ticketId", ticket_id);
    let price = expected_price.parse("/expectedPrice", &mut errors);
    let (Some(ticket_id), Some(price)) = (ticket_id, price) else { return Err(errors.into()) };
    command.run((user, ticket_id, price, lock), create_order).await
}

async fn create_order(
    (user, ticket_id, price, lock): (SignedIn, TicketId, Money, SignedDuration),
    cx: Context,
) -> Result<Reply, Problem> {
    let buyer = user_id(&*user.confirm(&cx).await?)?;
    let order_id: OrderId = cx.new_id().parse().map_err(Failure::from)?;
    let order = Order { order_id, ticket_id, buyer, price, created_at: cx.now(), state: State::Pending };
    let instead_of = predecessor(&order, lock, &cx).await?;
    expire_overdue_orders(&order.buyer, lock, &cx).await?;
    let mut account = Buyer::of(&order.buyer, &cx).await?;
    account.add(&order.ticket_id, &order.order_id, lock, cx.now())?;
    cx.put(&account);
    cx.create(&order).require_new()?;
    let view = OrderView::of(&order, cx.now());
    let Order { order_id, ticket_id, buyer, price: expected_price, .. } = order;
    let location = format!("orders/{order_id}");
    cx.publish(&TicketOrderCreated { order_id, ticket_id, buyer, expected_price, instead_of });
    Ok(Reply::accepted(&view).at(location))
}

/// Makes place for another order, if the buyer has too many of which the time has passed.
async fn expire_overdue_orders(buyer: &UserId, lock: SignedDuration, cx: &Context) -> Result<(), Failure> {
    for order_id in Buyer::of(buyer, cx).await?.too_many() {
        let mut order = Order::existing(&order_id, cx).await?;
        if order.state.is_overdue(cx.now(), GRACE) {
            order.expire(lock, cx).await?;
        }
    }
    Ok(())
}

pub(super) async fn cancel(
    user: SignedIn,
    Path(id): Path<OrderId>,
    command: Command<Nothing>,
    times: Times,
) -> Result<Reply, Problem> {
    command.run((user, id, times), cancel_order).await
}

/// Cancelling an order that has ended changes nothing, so a repeat is harmless.
async fn cancel_order(
    (user, id, Times { lock, refundable }): (SignedIn, OrderId, Times),
    cx: Context,
) -> Result<Reply, Problem> {
    let user = user.confirm(&cx).await?;
    let by = user_id(&user)?;
    let order: Option<Order> = cx.get(id.as_str()).await?;
    let mut order = order.filter(|order| order.buyer == by).ok_or_else(no_such_order)?;
    match order.state.clone() {
        state if state.is_overdue(cx.now(), GRACE) => order.expire(lock, &cx).await?,
        State::Pending | State::AwaitingPayment { .. } => {
            let held = cx.now().duration_since(order.created_at).min(lock);
            order.end(State::Cancelled, held, &cx).await?;
            cx.publish(&order.cancelled(None));
        }
        State::Completed { charge_id, completed_at } => {
            if cx.now().duration_since(completed_at) >= refundable {
                let detail = "The time in which the ticket could be given back has passed.";
                return Err(Problem::new(StatusCode::CONFLICT, detail));
            }
            give_back(&mut order, charge_id, lock, &user, &cx).await?;
        }
        State::Cancelled
        | State::Expired
        | State::Refused { .. }
        | State::Refunding { .. }
        | State::Refunded { .. } => {}
    }
    Ok(Reply::ok(&OrderView::of(&order, cx.now())))
}

/// Begins to refund the charge that paid the order.
async fn give_back(
    order: &mut Order,
    charge_id: String,
    lock: SignedDuration,
    _: &Confirmed,
    cx: &Context,
) -> Result<(), Failure> {
    // Otherwise a buyer could pay and give the ticket back, again and again.
    note_end(order, lock, cx).await?;
    cx.publish(&order.cancelled(Some(charge_id.clone())));
    order.state = State::Refunding { charge_id, failed: None };
    cx.put(order);
    Ok(())
}

pub(super) async fn show(
    user: SignedIn,
    documents: Documents,
    Path(id): Path<OrderId>,
) -> Result<Json<OrderView>, Problem> {
    let order: Option<Order> = documents.get(id.as_str()).await?;
    let order = order.filter(|order| order.buyer.as_str() == user.user()).ok_or_else(no_such_order)?;
    Ok(Json(OrderView::of(&order, documents.now())))
}

pub(super) async fn list(
    user: SignedIn,
    documents: Documents,
    page: PageQuery,
) -> Result<Json<Page<OrderView>>, Problem> {
    let own = vec![("buyer", user.user().into())];
    let Page { items, next } = documents.page::<Order>(own, &page).await?;
    let now = documents.now();
    Ok(Json(Page { items: items.iter().map(|order| OrderView::of(order, now)).collect(), next }))
}

/// The same answer for somebody else's order, which is nobody else's business.
fn no_such_order() -> Problem {
    Problem::not_found("order")
}

impl OrderView {
    fn of(order: &Order, now: Timestamp) -> Self {
        let expires_at = match order.state {
            State::AwaitingPayment { expires_at, .. } => Some(expires_at),
            _ => None,
        };
        let (reason, changed_price) = order.state.reason();
        Self {
            order_id: order.order_id.clone(),
            ticket_id: order.ticket_id.clone(),
            status: order.state.status(),
            price: order.price.clone(),
            created_at: order.created_at,
            expires_at,
            seconds_left: expires_at.map(|time| time.duration_since(now).as_secs().max(0)),
            reason: reason.map(str::to_owned),
            changed_price: changed_price.cloned(),
        }
    }
}
