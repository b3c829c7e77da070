//! Every event that the services exchange, precisely typed. No I/O.
//!
//! A released event never changes its meaning. Optional fields may be added; for anything else
//! there is a new type (`user.created.v2`) beside the old one. `golden/` holds one file for each
//! event that was ever released, and a test that all of them still decode.

mod email;
mod ids;
mod money;
mod names;
mod shop;
mod signup;

pub use email::{EmailAddress, InvalidEmail};
pub use ids::{EventId, InvalidId, InvoiceNumber, OrderId, PaymentMethod, Sku, UserId};
pub use money::{Currency, InvalidCurrency, Money};
pub use names::{InvalidName, InvalidProductName, PersonName, ProductName};
pub use shop::{
    InvalidLines, InvalidQuantity, InvoiceCreated, LogCreated, LogLevel, OrderCancelled, OrderCreated,
    OrderLine, OrderLines, OrderPersisted, OrderRejected, PaymentFailed, PaymentSucceeded, PricedLine,
    Quantity, RejectedLine, RejectionReason,
};
pub use signup::UserCreated;

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

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

/// The JSON schema of an event's data on the wire, `event` included.
///
/// What it takes is what the type's decoder takes, so whoever validates before publishing fills no
/// dead-letter topic; `tests/schemas.rs` names the few exceptions.
#[must_use]
pub fn schema<E: Event>() -> Schema {
    // Validators in strict mode refuse the names of Rust's integers.
    let drop_formats = RecursiveTransform(|schema: &mut Schema| {
        if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
            schema.remove("format");
        }
    });
    let settings = SchemaSettings::draft2020_12().with_transform(drop_formats);
    let mut schema = settings.into_generator().into_root_schema_for::<E>();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let description = "The event's type, for a message without the attribute `ce-type`.";
        properties.insert("event".to_owned(), json!({ "const": E::TYPE, "description": description }));
    }
    schema
}
