//! Every event that the services exchange, precisely typed. No I/O.
//!
//! A released event never changes its meaning. Optional fields may be added. Any other change is a new
//! type (`user.created.v2`) beside the old one. `golden/` holds one file for each event that was ever
//! released, and a test decodes all of them.

mod email;
#[doc(hidden)]
pub mod fuzz;
mod ids;
mod money;
mod names;
mod shop;
mod signup;
mod ticket_payments;
mod ticketing;

use std::fmt::Debug;

use pushbox::Event;

pub use email::{EmailAddress, InvalidEmail};
pub use ids::{EventId, InvalidId, InvoiceNumber, OrderId, PaymentMethod, SessionId, Sku, TicketId, UserId};
pub use money::{Currency, InvalidCurrency, Money};
pub use names::{InvalidName, InvalidProductName, InvalidTicketTitle, PersonName, ProductName, TicketTitle};
pub use shop::*;
pub use signup::*;
pub use ticket_payments::*;
pub use ticketing::*;

/// A pattern for the times of RFC 3339. It does not check the length of months. It stops before the year
/// 9000, because `jiff` does not support the whole year 9999.
const DATE_TIME: &str = concat!(
    r"^[0-8][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])",
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
);

/// Does something with each type of event. See [`visit_all`].
pub trait Visitor {
    /// Called once for each type.
    fn visit<E: Event + PartialEq + Debug>(&mut self);
}

/// Visits every type of event, for tests that must hold for all of them.
pub fn visit_all(visitor: &mut impl Visitor) {
    signup::visit_each(visitor);
    shop::visit_each(visitor);
    ticketing::visit_each(visitor);
    ticket_payments::visit_each(visitor);
}

/// The type and an example of every event, as JSON.
pub fn examples() -> impl Iterator<Item = (&'static str, &'static str)> {
    [signup::EXAMPLES, shop::EXAMPLES, ticketing::EXAMPLES, ticket_payments::EXAMPLES].concat().into_iter()
}

/// Declares the events of a system: their type, their topic, and their example in `golden/`.
macro_rules! events {
    ($($event:ident = $type:literal on $topic:literal;)*) => {
        $(impl pushbox::Event for $event {
            const TYPE: &'static str = $type;
            const TOPIC: &'static str = $topic;
        })*

        pub(crate) const EXAMPLES: &[(&str, &str)] =
            &[$(($type, include_str!(concat!("../golden/", $type, ".json")))),*];

        pub(crate) fn visit_each(visitor: &mut impl crate::Visitor) {
            $(visitor.visit::<$event>();)*
        }
    };
}
use events;

/// Converts a text type from and into `String`, as serde needs it. The type parses by `FromStr`.
macro_rules! converts_from_and_into_string {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = <Self as std::str::FromStr>::Err;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}
use converts_from_and_into_string;
