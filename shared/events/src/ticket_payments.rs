//! Events that ticket-payment-service publishes for itself. Each one is a call to the outside that is due.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EmailAddress, Money, OrderId, PaymentMethod, TicketId, events};

events! {
    TicketPaymentDue = "ticket-payment.due" on "ticketing-events";
    TicketPaymentLeftOpen = "ticket-payment.left-open" on "ticketing-events";
    TicketRefundDue = "ticket-refund.due" on "ticketing-events";
    TicketRefundMailDue = "ticket-refund.mail-due" on "ticketing-events";
}

/// The buyer of a ticket wants to pay: the payment method is to be charged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketPaymentDue {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// Counts the attempts to pay the order, from 1.
    #[schemars(range(max = u32::MAX))]
    pub attempt: u32,
    /// The payment method to charge.
    pub payment_method: PaymentMethod,
    /// The price of the order.
    pub amount: Money,
}

/// A charge was declined and is still open at the payment gateway: it is to be cancelled there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketPaymentLeftOpen {
    /// The order.
    pub order_id: OrderId,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
}

/// A charge is to be refunded in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketRefundDue {
    /// The order.
    pub order_id: OrderId,
    /// The ticket.
    pub ticket_id: TicketId,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
    /// Counts the attempts to refund the charge, from 1.
    #[schemars(range(max = u32::MAX))]
    pub attempt: u32,
    /// The whole amount of the charge.
    pub amount: Money,
}

/// The buyer is to get a mail about a refund.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketRefundMailDue {
    /// The order.
    pub order_id: OrderId,
    /// The e-mail address of the buyer.
    pub to: EmailAddress,
    /// The refunded amount.
    pub amount: Money,
}
