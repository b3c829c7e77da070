//! The shop system, topic `shop-events`; and what any service may tell the log, topic `log-events`.
//!
//! No service reads another's documents, so each event carries what those who handle it need.

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EmailAddress, InvoiceNumber, Money, OrderId, PaymentMethod, ProductName, Sku, events};

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

/// A customer ordered something. Whether it can be had is not known yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// Which order.
    pub order_id: OrderId,
    /// Where to write to.
    pub customer_email: EmailAddress,
    /// What is wanted.
    pub lines: OrderLines,
    /// What to charge, once the stock is taken.
    pub payment_method: PaymentMethod,
}

/// The stock that an order needs is taken for it; it can be paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderPersisted {
    /// Which order.
    pub order_id: OrderId,
    /// Where to write to.
    pub customer_email: EmailAddress,
    /// What is ordered, at which prices.
    pub lines: Vec<PricedLine>,
    /// What it costs.
    pub total: Money,
    /// What to charge.
    pub payment_method: PaymentMethod,
}

/// An order that cannot be fulfilled. No stock is taken for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderRejected {
    /// Which order.
    pub order_id: OrderId,
    /// Where to write to.
    pub customer_email: EmailAddress,
    /// The lines that cannot be fulfilled, and why.
    pub lines: Vec<RejectedLine>,
}

/// An order is paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentSucceeded {
    /// Which order.
    pub order_id: OrderId,
    /// Where to write to.
    pub customer_email: EmailAddress,
    /// What is ordered, at which prices.
    pub lines: Vec<PricedLine>,
    /// What was paid.
    pub total: Money,
    /// The charge's id at the payment gateway.
    pub charge_id: String,
}

/// An order cannot be paid. No money was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentFailed {
    /// Which order.
    pub order_id: OrderId,
    /// Where to write to.
    pub customer_email: EmailAddress,
    /// What was to be paid.
    pub total: Money,
    /// The gateway's reason, such as `insufficient_funds`.
    pub code: String,
}

/// An order is cancelled: its stock is free again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// Which order.
    pub order_id: OrderId,
    /// Why, such as `insufficient_funds`.
    pub reason: String,
}

/// A paid order has its invoice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceCreated {
    /// The invoice's number.
    pub number: InvoiceNumber,
    /// Which order.
    pub order_id: OrderId,
    /// Where to write to.
    pub customer_email: EmailAddress,
    /// What was bought, at which prices.
    pub lines: Vec<PricedLine>,
    /// What was paid.
    pub total: Money,
    /// When it was issued: a time of RFC 3339 before the year 9000.
    #[schemars(with = "String", extend("format" = "date-time", "pattern" = DATE_TIME))]
    pub issued_at: Timestamp,
}

/// A time as RFC 3339 has it, but for the length of the months. The year 9999 is not whole in `jiff`.
const DATE_TIME: &str = concat!(
    r"^[0-8][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])",
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
);

/// Something that people may want to know. It holds no personal data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogCreated {
    /// Who says it.
    pub service: String,
    /// How much it matters.
    pub level: LogLevel,
    /// One sentence, without names and addresses.
    pub message: String,
    /// The id of what it is about, such as an order's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// How much a log entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// As it should be.
    Info,
    /// A person should look at it.
    Error,
}

/// A product and how many of it are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// Which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// The lines of an order: 1 to 20, each of another product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<OrderLine>", into = "Vec<OrderLine>")]
#[schemars(with = "Vec<OrderLine>", extend("minItems" = 1, "maxItems" = Self::MAX, "uniqueItems" = true))]
pub struct OrderLines(Vec<OrderLine>);

/// Lines that make no order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order has 1 to 20 lines, each of another product")]
pub struct InvalidLines;

impl OrderLines {
    /// The most lines that an order can have.
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

/// How many of a product: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(with = "u32", extend("minimum" = Self::MIN, "maximum" = Self::MAX))]
pub struct Quantity(u32);

/// Not as many as can be ordered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity goes from 1 to 1000")]
pub struct InvalidQuantity;

impl Quantity {
    const MIN: u32 = 1;
    const MAX: u32 = 1000;

    /// The number.
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

/// A line of an order at the price of the moment in which its stock was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PricedLine {
    /// Which product.
    pub sku: Sku,
    /// What it is called.
    pub name: ProductName,
    /// How many.
    pub quantity: Quantity,
    /// What one costs.
    pub unit_price: Money,
}

/// A line of an order that cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedLine {
    /// Which product.
    pub sku: Sku,
    /// Why.
    pub reason: RejectionReason,
    /// How many were wanted.
    pub quantity: Quantity,
    /// How many there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = u32::MAX))]
    pub available: Option<u32>,
}

/// Why a line cannot be fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RejectionReason {
    /// There is no such product.
    UnknownSku,
    /// There is less of it than was wanted.
    ShortOfStock,
    /// It is sold in another currency than the first line's.
    OtherCurrency,
    /// The whole order costs more than can be charged at once.
    TotalTooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_an_order_or_refused() {
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
    fn quantities_go_from_1_to_1000() {
        for (given, is_good) in
            [("0", false), ("1", true), ("1000", true), ("1001", false), ("-1", false), ("1.5", false)]
        {
            assert_eq!(serde_json::from_str::<Quantity>(given).is_ok(), is_good, "{given}");
        }
    }
}
