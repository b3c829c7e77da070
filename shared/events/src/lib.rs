//! Every event that the services exchange, precisely typed. No I/O.
//!
//! A released event never changes its meaning. Optional fields may be added; for anything else
//! there is a new type (`user.created.v2`) beside the old one. `golden/` holds one file for each
//! event that was ever released, and a test that all of them still decode.

mod ids;
mod money;
mod person;
mod shop;
mod signup;

pub use ids::{EventId, InvalidId, InvoiceNumber, OrderId, PaymentMethod, Sku, UserId};
pub use money::{Currency, InvalidCurrency, Money};
pub use person::{EmailAddress, InvalidEmail, InvalidName, PersonName};
pub use shop::{
    InvalidLines, InvalidProductName, InvalidQuantity, InvoiceCreated, LogCreated, LogLevel, OrderCancelled,
    OrderCreated, OrderLine, OrderLines, OrderPersisted, OrderRejected, PaymentFailed, PaymentSucceeded,
    PricedLine, ProductName, Quantity, RejectedLine, RejectionReason,
};
pub use signup::UserCreated;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// A fact that one service announces and others may act on.
///
/// On the wire it is a [CloudEvent](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md)
/// whose data is the flat JSON of the implementing type, with `"event": TYPE` added.
pub trait Event: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// The CloudEvents `type`, such as `user.created`.
    const TYPE: &'static str;
    /// The Pub/Sub topic that carries it.
    const TOPIC: &'static str;
}
