//! A small model of payments: one charge for each order, refunds, and no gateway.

use axum::{extract::Path, http::StatusCode};
use events::{
    Money, OrderId, SessionId, SessionRevoked, TicketChargeDeclined, TicketChargeRefundFailed,
    TicketChargeRefunded, TicketCharged, TicketId, TicketOrderCancelled, TicketOrderChargeRefused,
    TicketOrderExpired, TicketState, TicketUpdated,
};
use jiff::{SignedDuration, Timestamp};
use pushbox::{Command, Context, Document, Failure, Problem, Reply, Service};
use serde::{Deserialize, Serialize};

pub(crate) const NAME: &str = "payments";

pub(crate) fn service() -> Service {
    Service::new(NAME, "plays the payments")
        .on(open)
        .on(|TicketOrderCancelled { order_id, refund, .. }, cx| close(order_id, refund, cx))
        .on(|TicketOrderExpired { order_id, .. }, cx| close(order_id, false, cx))
        .on(|TicketOrderChargeRefused { order_id, .. }, cx| close(order_id, true, cx))
        .delays::<TicketCharged>()
        .publishes::<TicketChargeDeclined>()
        .publishes::<TicketChargeRefunded>()
        .publishes::<TicketChargeRefundFailed>()
        .publishes::<SessionRevoked>()
        .post("/payments/{order}", pay)
        .post("/declines/{order}", decline)
        .post("/failures/{order}", fail_refund)
        .post("/revocations/{session}", revoke)
}

/// What is known about the payment of an order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    order_id: OrderId,
    due: Option<Due>,
    /// The order has ended, and nothing is charged any more.
    is_closed: bool,
    charge: Option<String>,
    is_refunded: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Due {
    ticket_id: TicketId,
    price: Money,
    until: Timestamp,
}

async fn account(order_id: &OrderId, cx: &Context) -> Result<Account, Failure> {
    let order = order_id.clone();
    let new = || Account { order_id: order, due: None, is_closed: false, charge: None, is_refunded: false };
    Ok(cx.get(order_id.as_str()).await?.unwrap_or_else(new))
}

async fn open(ticket: TicketUpdated, cx: Context) -> Result<(), Failure> {
    if let TicketState::Locked { order_id, until, price, .. } = ticket.state {
        let mut account = account(&order_id, &cx).await?;
        account.due = Some(Due { ticket_id: ticket.ticket_id, price, until });
        cx.put(&account);
    }
    Ok(())
}

async fn close(order_id: OrderId, refund: bool, cx: Context) -> Result<(), Failure> {
    let mut account = account(&order_id, &cx).await?;
    account.is_closed = true;
    if let (true, false, Some(charge_id), Some(due)) =
        (refund, account.is_refunded, account.charge.clone(), account.due.clone())
    {
        account.is_refunded = true;
        let Due { ticket_id, price: amount, .. } = due;
        cx.publish(&TicketChargeRefunded { order_id, ticket_id, charge_id, amount });
    }
    cx.put(&account);
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    /// How long the gateway and the news take.
    #[serde(default)]
    late_seconds: i64,
}

async fn pay(Path(order): Path<OrderId>, command: Command<Payment>) -> Result<Reply, Problem> {
    let late = SignedDuration::from_secs(command.body.late_seconds);
    command
        .run((order, late), async |(order_id, late), cx| {
            let mut account = account(&order_id, &cx).await?;
            let refuse = |why: &str| Problem::new(StatusCode::CONFLICT, why);
            let Some(due) = account.due.clone() else { return Err(refuse("There is nothing to pay.")) };
            if account.is_closed || account.charge.is_some() {
                return Err(refuse("The order is paid, or it has ended."));
            }
            if due.until.duration_since(cx.now()) < SignedDuration::from_secs(20) {
                return Err(refuse("It is too late."));
            }
            let charge_id = cx.new_id();
            account.charge = Some(charge_id.clone());
            cx.put(&account);
            let Due { ticket_id, price: amount, .. } = due;
            let charged = TicketCharged { order_id, ticket_id, charge_id, amount };
            if late.is_positive() {
                cx.publish_at(&charged, cx.now().saturating_add(late).map_err(Failure::from)?);
            } else {
                cx.publish(&charged);
            }
            Ok(Reply::accepted(&account))
        })
        .await
}

#[derive(Deserialize)]
struct Nothing {}

async fn decline(Path(order_id): Path<OrderId>, command: Command<Nothing>) -> Result<Reply, Problem> {
    let code = "insufficient_funds".to_owned();
    let declined = TicketChargeDeclined { order_id, code };
    command
        .run(declined, async |declined, cx| {
            cx.publish(&declined);
            Ok(Reply::accepted(&declined))
        })
        .await
}

async fn fail_refund(Path(order): Path<OrderId>, command: Command<Nothing>) -> Result<Reply, Problem> {
    command
        .run(order, async |order_id, cx| {
            let account = account(&order_id, &cx).await?;
            let charge_id = account.charge.ok_or_else(|| Problem::not_found("charge"))?;
            let failed = TicketChargeRefundFailed { order_id, charge_id, code: "card_gone".to_owned() };
            cx.publish(&failed);
            Ok(Reply::accepted(&failed))
        })
        .await
}

async fn revoke(Path(session): Path<SessionId>, command: Command<Nothing>) -> Result<Reply, Problem> {
    command
        .run(session, async |session_id, cx| {
            let user_id = "ann".parse().map_err(Failure::from)?;
            let reason = events::RevocationReason::SignedOut;
            let revoked = SessionRevoked { user_id, session_id, reason };
            cx.publish(&revoked);
            Ok(Reply::accepted(&revoked))
        })
        .await
}

impl Document for Account {
    const COLLECTION: &'static str = "accounts";
    fn id(&self) -> String {
        self.order_id.to_string()
    }
}
