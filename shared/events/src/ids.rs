//! Ids. Each kind has its own type, so the compiler finds swapped ids.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text is not a valid id. [`UserId`] has the rule.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("an id must be 1 to 128 of A-Z, a-z, 0-9, '-', '_', '.', ':' and start with a letter or digit")]
pub struct InvalidId;

/// The rule that [`parse`] checks.
const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$";

fn parse(text: String) -> Result<String, InvalidId> {
    // A valid id is also a safe Firestore document id and a safe path segment.
    let first_is_safe = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let all_are_safe = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    if first_is_safe && all_are_safe && text.len() <= 128 { Ok(text) } else { Err(InvalidId) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = PATTERN))]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text.to_owned()).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// The id of a person who signed up: 1 to 128 of the characters `A-Z a-z 0-9 - _ . :`. The first
    /// one is a letter or digit.
    UserId
}

id! {
    /// The id of a session: the time from a sign-in to its sign-out. It is no secret.
    SessionId
}

id! {
    /// The id of a ticket.
    TicketId
}

id! {
    /// The CloudEvents `id` of an event. It is unique within its source.
    EventId
}

id! {
    /// The id of an order.
    OrderId
}

id! {
    /// The id of a product ("stock keeping unit"), such as `tea-250g`.
    Sku
}

id! {
    /// The number of an invoice, such as `2026-000042`: the year, and the position in that year.
    InvoiceNumber
}

id! {
    /// The id of a payment method at the payment gateway, such as `pm_card_visa`. Never a card number.
    PaymentMethod
}

impl PaymentMethod {
    /// Whether somebody has sent a card's number instead of an id. Nothing may store it.
    #[must_use]
    pub fn looks_like_a_card_number(&self) -> bool {
        let digits = self.0.chars().filter(char::is_ascii_digit).count();
        digits >= 12 && !self.0.contains(|c: char| c.is_ascii_alphabetic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_numbers_of_cards() {
        for (text, expected) in [
            ("4242424242424242", true),
            ("4242-4242-4242-4242", true),
            ("pm_card_visa", false),
            ("pm_4242424242424242", false),
            ("42424242424", false),
        ] {
            let method: PaymentMethod = text.parse().expect("an id");
            assert_eq!(method.looks_like_a_card_number(), expected, "{text}");
        }
    }

    #[test]
    fn accepts_only_safe_ids() {
        for good in ["a", "test-123", "01JD:9.x_y", &"x".repeat(128)] {
            assert_eq!(good.parse::<UserId>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "a/b", "__x__", "-a", "a b", "ü", &"x".repeat(129)] {
            assert_eq!(bad.parse::<UserId>(), Err(InvalidId), "{bad:?}");
        }
    }
}
