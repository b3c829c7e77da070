//! Amounts of money.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::converts_from_and_into_string;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    /// The amount in the smallest unit of the currency: cents for dollars, but whole yen. At most
    /// 2^53 - 1, because not every JSON reader keeps larger numbers exact.
    #[serde(deserialize_with = "minor")]
    #[schemars(range(max = MAX_MINOR))]
    pub minor: u64,
    /// The currency of the amount.
    pub currency: Currency,
}

const MAX_MINOR: u64 = (1 << 53) - 1;

fn minor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let minor = u64::deserialize(deserializer)?;
    if minor <= MAX_MINOR { Ok(minor) } else { Err(D::Error::custom("the amount is too large")) }
}

/// An ISO 4217 code, in lower case, such as `usd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z]{3}$"))]
pub struct Currency(String);

/// The text is not a currency code.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a currency must be three lower-case letters, such as usd")]
pub struct InvalidCurrency;

impl Currency {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Each amount that can be charged is a multiple of this
    /// (<https://docs.stripe.com/currencies#special-cases>, <https://docs.stripe.com/currencies#three-decimal>).
    #[must_use]
    pub fn step(&self) -> u64 {
        match self.as_str() {
            "isk" | "ugx" => 100,
            _ if self.decimals() == 3 => 10,
            _ => 1,
        }
    }

    /// The number of digits after the decimal point: <https://docs.stripe.com/currencies#zero-decimal>.
    fn decimals(&self) -> u32 {
        match self.as_str() {
            "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "vnd" | "vuv"
            | "xaf" | "xof" | "xpf" => 0,
            "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
            _ => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = InvalidCurrency;
    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase());
        if is_code { Ok(Self(text.to_owned())) } else { Err(InvalidCurrency) }
    }
}

converts_from_and_into_string!(Currency);

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The amount for people to read, such as `12.50 EUR`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (decimals, code) = (self.currency.decimals(), self.currency.as_str().to_uppercase());
        if decimals == 0 {
            return write!(f, "{} {code}", self.minor);
        }
        let one = 10_u64.pow(decimals);
        write!(f, "{}.{:0width$} {code}", self.minor / one, self.minor % one, width = decimals as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_three_lower_case_letters() {
        assert_eq!("eur".parse::<Currency>().map(String::from), Ok("eur".to_owned()));
        for bad in ["", "EUR", "euro", "eu", "e r", "äu"] {
            assert_eq!(bad.parse::<Currency>(), Err(InvalidCurrency), "{bad:?}");
        }
    }

    #[test]
    fn formats_an_amount_with_the_decimals_of_its_currency() {
        for (minor, currency, expected) in [
            (1250, "eur", "12.50 EUR"),
            (5, "usd", "0.05 USD"),
            (300, "jpy", "300 JPY"),
            (1, "kwd", "0.001 KWD"),
        ] {
            let money = Money { minor, currency: currency.parse().expect("a currency") };
            assert_eq!(money.to_string(), expected);
        }
    }
}
