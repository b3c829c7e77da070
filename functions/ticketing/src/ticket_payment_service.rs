//! Payments of orders: this service charges the buyers, and gives back what an order does not take.

mod account;
mod attempt;
mod desk;
mod left_open;
mod notice;
mod refund;

use effects::{
    mail::{MailEffect, Mailer},
    payments::Gateway,
};
use events::{
    TicketChargeDeclined, TicketChargeRefundFailed, TicketChargeRefunded, TicketCharged,
    TicketOrderCancelled, TicketOrderChargeRefused, TicketOrderExpired, TicketPaymentDue,
    TicketPaymentLeftOpen, TicketRefundDue, TicketRefundMailDue, TicketState, TicketUpdated,
};
use pushbox::{Context, Failure, Service};

use crate::caller::end_session;
use account::{Account, Due};
use attempt::Attempt;
use desk::{pay, payment};
use left_open::LeftOpen;
use notice::{RefundMail, keep_address, notify};
use refund::{Refunding, report_failure};

pub fn service(gateway: Gateway, mailer: Mailer) -> Service {
    Service::new("ticket-payment-service", "charges the buyers of tickets, and refunds them")
        .public()
        .signed_in()
        .on(end_session)
        .on(keep_address)
        .on(follow_ticket)
        .on(expire)
        .on(cancel)
        .on(refuse)
        .effect(Attempt::new(gateway.clone()))
        .effect(LeftOpen::new(gateway.clone()))
        .effect(Refunding::new(gateway))
        .on(report_failure)
        .on(notify)
        .effect(MailEffect::<TicketRefundMailDue, RefundMail>::new(mailer))
        .publishes::<TicketPaymentDue>()
        .publishes::<TicketPaymentLeftOpen>()
        .publishes::<TicketRefundDue>()
        .publishes::<TicketRefundMailDue>()
        .publishes::<TicketCharged>()
        .publishes::<TicketChargeDeclined>()
        .publishes::<TicketChargeRefunded>()
        .publishes::<TicketChargeRefundFailed>()
        .post("/payments", pay)
        .get("/payments/{order_id}", payment)
}

/// An order has one lock, so its price and its deadline never change.
async fn follow_ticket(ticket: TicketUpdated, cx: Context) -> Result<(), Failure> {
    if let TicketState::Locked { order_id, buyer, until, price } = ticket.state {
        let mut account = Account::of(&order_id, &cx).await?;
        account.due = Some(Due { ticket_id: ticket.ticket_id, buyer, price, until });
        cx.put(&account);
    }
    Ok(())
}

/// From here on, no charge begins. One that is on its way is refunded when its order refuses it.
async fn expire(expired: TicketOrderExpired, cx: Context) -> Result<(), Failure> {
    let mut account = Account::of(&expired.order_id, &cx).await?;
    account.has_ended = true;
    cx.put(&account);
    Ok(())
}

async fn cancel(cancelled: TicketOrderCancelled, cx: Context) -> Result<(), Failure> {
    let mut account = Account::of(&cancelled.order_id, &cx).await?;
    account.has_ended = true;
    match cancelled.charge_id {
        Some(charge) if cancelled.refund => account.begin_refund_of(&charge, &cx)?,
        None if cancelled.refund => account.begin_refund(&cx)?,
        _ => {}
    }
    cx.put(&account);
    Ok(())
}

async fn refuse(refused: TicketOrderChargeRefused, cx: Context) -> Result<(), Failure> {
    let mut account = Account::existing(&refused.order_id, &cx).await?;
    account.has_ended = true;
    account.begin_refund_of(&refused.charge_id, &cx)?;
    cx.put(&account);
    Ok(())
}
