//! Personal data. `Debug` hides it, so that it does not end up in a log by accident.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Not an e-mail address.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not an e-mail address; it should look like ann@example.com")]
pub struct InvalidEmail;

/// An e-mail address that can be delivered to, trimmed and in lower case.
///
/// RFC 5321 lets a server tell `Ann@` from `ann@`; none in use does, and two accounts for one
/// mailbox would be the greater harm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "email"))]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let options = email_address::Options::default()
            .with_required_tld()
            .without_display_text()
            .without_domain_literal();
        let text = text.trim().to_lowercase();
        email_address::EmailAddress::parse_with_options(&text, options).map_err(|_| InvalidEmail)?;
        Ok(Self(text))
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = InvalidEmail;
    fn try_from(text: String) -> Result<Self, InvalidEmail> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> String {
        address.0
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

/// Not a name.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a name has 1 to 200 characters and no control characters")]
pub struct InvalidName;

/// What a person wants to be called: 1 to 200 characters, trimmed, without control characters
/// (a line break in a name would otherwise end up in a mail header).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PersonName(String);

impl PersonName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PersonName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        let length = text.chars().count();
        if (1..=200).contains(&length) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }
}

impl TryFrom<String> for PersonName {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<PersonName> for String {
    fn from(name: PersonName) -> String {
        name.0
    }
}

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonName(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised_or_refused() {
        for (given, expected) in [
            ("ann@example.com", Some("ann@example.com")),
            ("  Ann.O'Neil+news@Example.COM ", Some("ann.o'neil+news@example.com")),
            ("ann@bücher.example", Some("ann@bücher.example")),
            ("ann", None),
            ("", None),
            ("ann@localhost", None),
            ("Ann <ann@example.com>", None),
            ("ann@[127.0.0.1]", None),
            ("ann@example.com\r\nBcc: eve@example.com", None),
        ] {
            assert_eq!(
                given.parse::<EmailAddress>().ok().map(String::from).as_deref(),
                expected,
                "{given:?}"
            );
        }
    }

    #[test]
    fn names_are_trimmed_or_refused() {
        for (given, expected) in [
            (" Ann ", Some("Ann")),
            ("李", Some("李")),
            ("  ", None),
            ("Ann\r\nBcc: eve", None),
            (&"x".repeat(201), None),
        ] {
            assert_eq!(given.parse::<PersonName>().ok().map(String::from).as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn debug_output_shows_no_personal_data() {
        let shown =
            format!("{:?} {:?}", "ann@example.com".parse::<EmailAddress>(), "Ann".parse::<PersonName>());
        assert!(!shown.to_lowercase().contains("ann"), "{shown}");
    }
}
