//! Prices in requests.

use events::Money;
use pushbox::FieldErrors;
use serde::Deserialize;

/// The largest amount of a charge at the payment gateway.
const LARGEST_AMOUNT: u64 = 99_999_999;

/// A price as a caller sends it.
#[derive(Default, Deserialize)]
pub(crate) struct NewPrice {
    #[serde(default)]
    minor: i64,
    #[serde(default)]
    currency: String,
}

impl NewPrice {
    /// Parses the price at `pointer`, and notes each error with its place.
    pub(crate) fn parse(&self, pointer: &str, errors: &mut FieldErrors) -> Option<Money> {
        let currency = errors.parse(&format!("{pointer}/currency"), &self.currency);
        let minor = u64::try_from(self.minor).ok().filter(|minor| (1..=LARGEST_AMOUNT).contains(minor));
        if minor.is_none() {
            errors.note(&format!("{pointer}/minor"), format_args!("a price goes from 1 to {LARGEST_AMOUNT}"));
        }
        let price = Money { minor: minor?, currency: currency? };
        let step = price.currency.step();
        if !price.minor.is_multiple_of(step) {
            let detail = format_args!("a price in {} is a multiple of {step}", price.currency);
            errors.note(&format!("{pointer}/minor"), detail);
            return None;
        }
        Some(price)
    }
}
