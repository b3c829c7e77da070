//! Events of the shop system, on the topic `shop-events`, and log entries of any service, on the topic
//! `log-events`.
//!
//! No service reads the documents of another one, so each event carries all data that its consumers need.

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DATE_TIME, EmailAddress, InvoiceNumber, Money, OrderId, PaymentMethod, ProductName, Sku, events,
};

events! {
    OrderCreated = "order.created" on "shop-events";
    OrderPersisted = "order.persisted" on "shop-events";
    OrderRejected = "order.rejected" on "shop-events";
    PaymentSucceeded = "payment.succeeded" on "shop-events";
    PaymentFailed = "payment.failed" on "shop-events";
    OrderCancelled = "order.cancelled" on "shop-events";
    InvoiceCreated = "invoice.created" on "shop-events";
    LogCreated = "log.created" on "log-events";
}

/// A customer placed an order. The stock has not been checked yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// The order.
    pub order_id: OrderId,
    /// The e-mail address of the customer.
    pub customer_email: EmailAddress,
    /// The ordered products.
    pub lines: OrderLines,
    /// The payment method to charge after the stock is taken.
    pub payment_method: PaymentMethod,
}

/// The stock for an order is taken, and the order can be paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderPersisted {
    /// The order.
    pub order_id: OrderId,
    /// The e-mail address of the customer.
    pub customer_email: EmailAddress,
    /// The ordered products with their prices.
    pub lines: Vec<PricedLine>,
    /// The price of the whole order.
    pub total: Money,
    /// The payment method to charge.
    pub payment_method: PaymentMethod,
}

/// An order cannot be fulfilled. No stock is taken for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderRejected {
    /// The order.
    pub order_id: OrderId,
    /// The e-mail address of the customer.
    pub customer_email: EmailAddress,
    /// The lines that cannot be fulfilled, with the reasons.
    pub lines: Vec<RejectedLine>,
}

/// An order is paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentSucceeded {
    /// The order.
    pub order_id: OrderId,
    /// The e-mail address of the customer.
    pub customer_email: EmailAddress,
    /// The ordered products with their prices.
    pub lines: Vec<PricedLine>,
    /// The paid amount.
    pub total: Money,
    /// The id of the charge at the payment gateway.
    pub charge_id: String,
}

/// An order cannot be paid. No money was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentFailed {
    /// The order.
    pub order_id: OrderId,
    /// The e-mail address of the customer.
    pub customer_email: EmailAddress,
    /// The amount due.
    pub total: Money,
    /// The reason code of the payment gateway, such as `insufficient_funds`.
    pub code: String,
}

/// An order is cancelled. Its stock becomes free again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// The reason, such as `insufficient_funds`.
    pub reason: String,
}

/// A paid order got its invoice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceCreated {
    /// The number of the invoice.
    pub number: InvoiceNumber,
    /// The order.
    pub order_id: OrderId,
    /// The e-mail address of the customer.
    pub customer_email: EmailAddress,
    /// The bought products with their prices.
    pub lines: Vec<PricedLine>,
    /// The paid amount.
    pub total: Money,
    /// The time of issue, in the format of RFC 3339 and before the year 9000.
    #[schemars(with = "String", extend("format" = "date-time", "pattern" = DATE_TIME))]
    pub issued_at: Timestamp,
}

/// A log entry for people. It contains no personal data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogCreated {
    /// The service that wrote the entry.
    pub service: String,
    /// The importance of the entry.
    pub level: LogLevel,
    /// One sentence, without names and addresses.
    pub message: String,
    /// The id of the subject, such as an order id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// The importance of a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// Normal operation.
    Info,
    /// A person should look at it.
    Error,
}

/// A product and the ordered quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// The product.
    pub sku: Sku,
    /// The ordered quantity.
    pub quantity: Quantity,
}

/// The lines of an order: 1 to 20, each for a different product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<OrderLine>", into = "Vec<OrderLine>")]
#[schemars(with = "Vec<OrderLine>", extend("minItems" = 1, "maxItems" = Self::MAX, "uniqueItems" = true))]
pub struct OrderLines(Vec<OrderLine>);

/// The lines are not a valid order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order must have 1 to 20 lines, each for a different product")]
pub struct InvalidLines;

impl OrderLines {
    /// The maximum number of lines.
    pub const MAX: usize = 20;
}

impl std::ops::Deref for OrderLines {
    type Target = [OrderLine];
    fn deref(&self) -> &[OrderLine] {
        &self.0
    }
}

impl TryFrom<Vec<OrderLine>> for OrderLines {
    type Error = InvalidLines;
    fn try_from(lines: Vec<OrderLine>) -> Result<Self, InvalidLines> {
        let skus: BTreeSet<&Sku> = lines.iter().map(|line| &line.sku).collect();
        let is_order = (1..=Self::MAX).contains(&lines.len()) && skus.len() == lines.len();
        if is_order { Ok(Self(lines)) } else { Err(InvalidLines) }
    }
}

impl From<OrderLines> for Vec<OrderLine> {
    fn from(lines: OrderLines) -> Self {
        lines.0
    }
}

/// The quantity of a product: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(with = "u32", extend("minimum" = Self::MIN, "maximum" = Self::MAX))]
pub struct Quantity(u32);

/// The number is not a valid quantity.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity must be from 1 to 1000")]
pub struct InvalidQuantity;

impl Quantity {
    const MIN: u32 = 1;
    const MAX: u32 = 1000;

    /// The quantity as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Quantity {
    type Error = InvalidQuantity;
    fn try_from(number: u32) -> Result<Self, InvalidQuantity> {
        if (Self::MIN..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(InvalidQuantity) }
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> u32 {
        quantity.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A line of an order, with the price at the time when its stock was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PricedLine {
    /// The product.
    pub sku: Sku,
    /// The name of the product.
    pub name: ProductName,
    /// The ordered quantity.
    pub quantity: Quantity,
    /// The price of one piece.
    pub unit_price: Money,
}

/// A line of an order that cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedLine {
    /// The product.
    pub sku: Sku,
    /// The reason.
    pub reason: RejectionReason,
    /// The ordered quantity.
    pub quantity: Quantity,
    /// The quantity in stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = u32::MAX))]
    pub available: Option<u32>,
}

/// The reason why a line cannot be fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RejectionReason {
    /// The product does not exist.
    UnknownSku,
    /// The stock is smaller than the ordered quantity.
    ShortOfStock,
    /// The product has a price in another currency than the first line.
    OtherCurrency,
    /// The total of the order is more than one charge can be.
    TotalTooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_1_to_20_lines_of_different_products() {
        let lines = |skus: &[&str]| {
            let line = |sku: &&str| OrderLine { sku: sku.parse().expect("a sku"), quantity: Quantity(1) };
            OrderLines::try_from(skus.iter().map(line).collect::<Vec<_>>()).map(|lines| lines.len())
        };
        assert_eq!(lines(&["tea", "pot"]), Ok(2));
        assert_eq!(lines(&[]), Err(InvalidLines));
        assert_eq!(lines(&["tea", "tea"]), Err(InvalidLines));
        let many: Vec<String> = (0..=OrderLines::MAX).map(|number| format!("sku-{number}")).collect();
        assert_eq!(lines(&many.iter().map(String::as_str).collect::<Vec<_>>()), Err(InvalidLines));
    }

    #[test]
    fn accepts_quantities_from_1_to_1000() {
        for (given, is_good) in
            [("0", false), ("1", true), ("1000", true), ("1001", false), ("-1", false), ("1.5", false)]
        {
            assert_eq!(serde_json::from_str::<Quantity>(given).is_ok(), is_good, "{given}");
        }
    }
}
