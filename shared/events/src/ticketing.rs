//! Events of the ticketing system, on the topic `ticketing-events`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DATE_TIME, EmailAddress, Money, OrderId, SessionId, TicketId, TicketTitle, UserId, events};

events! {
    AccountCreated = "account.created" on "ticketing-events";
    SessionRevoked = "session.revoked" on "ticketing-events";
    TicketCreated = "ticket.created" on "ticketing-events";
    TicketUpdated = "ticket.updated" on "ticketing-events";
    TicketRefused = "ticket.refused" on "ticketing-events";
    TicketOrderCreated = "ticket-order.created" on "ticketing-events";
    TicketOrderCancelled = "ticket-order.cancelled" on "ticketing-events";
    TicketOrderExpired = "ticket-order.expired" on "ticketing-events";
    TicketOrderCompleted = "ticket-order.completed" on "ticketing-events";
    TicketOrderExpiryDue = "ticket-order.expiry-due" on "ticketing-events";
    TicketOrderChargeRefused = "ticket-order.charge-refused" on "ticketing-events";
    TicketCharged = "charge.created" on "ticketing-events";
    TicketChargeDeclined = "charge.declined" on "ticketing-events";
    TicketChargeRefunded = "charge.refunded" on "ticketing-events";
    TicketChargeRefundFailed = "charge.refund-failed" on "ticketing-events";
}

/// A person has an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountCreated {
    /// The id of the user.
    pub user_id: UserId,
    /// The e-mail address of the user.
    pub email: EmailAddress,
}

/// A session ended before its time. Its access tokens are still valid for up to 5 minutes, so a service that
/// moves money must remember it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRevoked {
    /// The user of the session.
    pub user_id: UserId,
    /// The session.
    pub session_id: SessionId,
    /// Why it ended.
    pub reason: RevocationReason,
}

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RevocationReason {
    /// The user signed out.
    SignedOut,
    /// The user signed in again in the same browser.
    Replaced,
    /// An old value of its cookie was used, so somebody has a copy of it.
    Reused,
}

/// Somebody offers a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketCreated {
    /// The ticket.
    pub ticket_id: TicketId,
    /// Counts the changes of the ticket, from 1.
    #[schemars(range(max = u32::MAX))]
    pub version: u32,
    /// The user who sells it.
    pub seller: UserId,
    /// Its title.
    pub title: TicketTitle,
    /// Its price.
    pub price: Money,
}

/// A ticket has changed. The event holds the whole ticket, so a consumer that has seen a higher version
/// ignores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketUpdated {
    /// The ticket.
    pub ticket_id: TicketId,
    /// Counts the changes of the ticket, from 1.
    #[schemars(range(max = u32::MAX))]
    pub version: u32,
    /// The user who sells it.
    pub seller: UserId,
    /// Its title.
    pub title: TicketTitle,
    /// Its price. It does not change while the ticket is locked.
    pub price: Money,
    /// Who can have it.
    pub state: TicketState,
}

/// Who can have a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TicketState {
    /// Everybody can order it.
    Listed,
    /// It is held for an order, which may be paid until this time.
    Locked {
        /// The order.
        order_id: OrderId,
        /// The user who ordered it.
        buyer: UserId,
        /// The end of the time to pay, in the format of RFC 3339 and before the year 9000.
        #[schemars(with = "String", extend("format" = "date-time", "pattern" = DATE_TIME))]
        until: Timestamp,
        /// The price of the order.
        price: Money,
    },
    /// An order has bought it.
    Sold {
        /// The order.
        order_id: OrderId,
    },
    /// Its seller has withdrawn it.
    Withdrawn,
}

/// An order does not get its ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketRefused {
    /// The ticket.
    pub ticket_id: TicketId,
    /// The order.
    pub order_id: OrderId,
    /// Why.
    pub reason: TicketRefusal,
}

/// The reason why an order does not get its ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TicketRefusal {
    /// Another order has it.
    Taken,
    /// The buyer is the seller.
    OwnTicket,
    /// The buyer expected another price.
    PriceChanged {
        /// The present price.
        price: Money,
    },
    /// There is no such ticket.
    UnknownTicket,
    /// Its seller has withdrawn it.
    NotForSale,
}

/// A user wants to buy a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketOrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// The user.
    pub buyer: UserId,
    /// The price that the user saw.
    pub expected_price: Money,
    /// An earlier order that has ended without the ticket. If the ticket is still locked for it, the new order
    /// takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<OrderId>,
}

/// The buyer has cancelled an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketOrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// The user who cancelled it.
    pub by: UserId,
    /// The order was paid, so its charge must be refunded. The ticket stays sold until then.
    pub refund: bool,
    /// The id of that charge at the payment gateway. Without it, whatever was paid must be refunded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge_id: Option<String>,
}

/// An order was not paid in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketOrderExpired {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
}

/// An order is paid, and its buyer has the ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketOrderCompleted {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// The price that the buyer paid.
    pub price: Money,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
}

/// The time to pay an order has passed. This event is published at that time, and some time later for payments
/// that are on their way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketOrderExpiryDue {
    /// The order.
    pub order_id: OrderId,
    /// The end of the time to pay, in the format of RFC 3339 and before the year 9000.
    #[schemars(with = "String", extend("format" = "date-time", "pattern" = DATE_TIME))]
    pub until: Timestamp,
}

/// A charge came for an order that does not take it: the order has ended, or has another price. The charge must
/// be refunded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketOrderChargeRefused {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
}

/// The buyer of a ticket was charged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketCharged {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
    /// The charged amount.
    pub amount: Money,
}

/// The payment gateway declined a charge. The buyer may pay in another way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketChargeDeclined {
    /// The order.
    pub order_id: OrderId,
    /// The reason code of the payment gateway, such as `insufficient_funds`.
    pub code: String,
}

/// A charge was refunded in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketChargeRefunded {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
    /// The refunded amount.
    pub amount: Money,
}

/// A charge could not be refunded. A person must look at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketChargeRefundFailed {
    /// The order.
    pub order_id: OrderId,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
    /// The reason code of the payment gateway.
    pub code: String,
}
