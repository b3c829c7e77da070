//! Names of persons, products and tickets. People read them.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::converts_from_and_into_string;

/// The blanks that [`str::trim`] drops, as a character class of a pattern.
///
/// JavaScript, Python and Rust must read the patterns alike. So there is no `\p{…}`, and no escape of
/// more than four digits.
pub(crate) const BLANK: &str = r"\t-\r \x85\xA0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000";

/// The characters of [`is_hidden`] up to U+FFFF, as a character class of a pattern.
const HIDDEN: &str = concat!(
    r"\x00-\x1F\x7F-\x9F\xAD\u061C\u115F\u1160\u17B4\u17B5\u200B\u200E\u200F\u2028-\u202E",
    r"\u2060-\u206F\u3164\uFEFF\uFFA0\uFFF9-\uFFFB",
);

/// The characters of [`joins`], as a character class of a pattern.
const JOINING: &str = r"\u200C\u200D\uFE00-\uFE0F";

/// Whether a character breaks the line, changes the direction of the following text, or is invisible.
/// For example, `U+202E` at the end of a name reverses the text after it.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{AD}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}')
        || matches!(c, '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}')
        || matches!(c, '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}')
        || matches!(c, '\u{FFF9}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}')
        // "Tags" are invisible copies of ASCII. U+E0100 to U+E01EF are allowed: some names need them.
        || matches!(c, '\u{E0000}'..='\u{E00FF}' | '\u{E01F0}'..='\u{E0FFF}')
}

/// Whether a character only changes its neighbours. Some scripts and emoji need such characters.
fn joins(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

fn parse(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name =
        (1..=200).contains(&text.chars().count()) && !text.starts_with(joins) && !text.contains(is_hidden);
    is_name.then(|| text.to_owned())
}

/// The rule as a pattern.
fn pattern() -> String {
    format!("^[{BLANK}]*[^{BLANK}{HIDDEN}{JOINING}]([^{HIDDEN}]{{0,198}}[^{BLANK}{HIDDEN}])?[{BLANK}]*$")
}

/// The text is not a valid name.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a name must have 1 to 200 characters and no invisible characters")]
pub struct InvalidName;

/// The name of a person: 1 to 200 characters, trimmed. It contains no control characters, because a
/// line break could get into a mail header. It contains no invisible characters, and none that change
/// the direction of the text. It may contain joiners, but not begin with one.
///
/// `Debug` hides the name, which keeps it out of logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = pattern()))]
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
        parse(text).map(Self).ok_or(InvalidName)
    }
}

converts_from_and_into_string!(PersonName);

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonName(…)")
    }
}

/// Declares a name that may appear in logs.
macro_rules! public_name {
    ($(#[$doc:meta])* $name:ident, $error:ident: $message:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = pattern()))]
        pub struct $name(String);

        #[doc = concat!("The text is not a valid [`", stringify!($name), "`].")]
        #[derive(Debug, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $error;

        impl FromStr for $name {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                parse(text).map(Self).ok_or($error)
            }
        }

        converts_from_and_into_string!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

public_name! {
    /// The name of a product: 1 to 200 characters, trimmed. It contains no control characters, no invisible
    /// characters, and none that change the direction of the text. It may contain joiners, but not begin
    /// with one.
    ProductName, InvalidProductName: "a product name must have 1 to 200 characters and no invisible characters"
}

public_name! {
    /// The title of a ticket, with the rule of [`ProductName`].
    TicketTitle, InvalidTicketTitle: "a title must have 1 to 200 characters and no invisible characters"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_valid_names_and_rejects_others() {
        for (given, expected) in [
            (" Ann ", Some("Ann")),
            ("李", Some("李")),
            // Persian and emoji need joiners, Japanese names variation selectors.
            ("علی\u{200C}رضا", Some("علی\u{200C}رضا")),
            ("👩\u{200D}🚀 ❤\u{FE0F}", Some("👩\u{200D}🚀 ❤\u{FE0F}")),
            ("葛\u{E0100}", Some("葛\u{E0100}")),
            ("عبد الله", Some("عبد الله")),
            (&"x".repeat(200), Some(&"x".repeat(200))),
            ("  ", None),
            ("Ann\r\nBcc: eve", None),
            ("Ann\u{2028}Bcc: eve", None),
            (&"x".repeat(201), None),
            ("Ann\u{202E}moc.live", None),
            ("\u{2066}Ann\u{2069}", None),
            ("Ann\u{200F}", None),
            ("Ann\u{61C}", None),
            ("An\u{AD}n", None),
            ("An\u{200B}n", None),
            ("Ann\u{E0041}\u{E0042}", None),
            ("\u{3164}", None),
            ("\u{200D}", None),
        ] {
            let person = given.parse::<PersonName>().ok().map(String::from);
            let product = given.parse::<ProductName>().ok().map(String::from);
            let title = given.parse::<TicketTitle>().ok().map(String::from);
            assert_eq!([person.as_deref(), product.as_deref(), title.as_deref()], [expected; 3], "{given:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_name() {
        let shown = format!("{:?}", "Ann".parse::<PersonName>());
        assert!(!shown.to_lowercase().contains("ann"), "{shown}");
    }
}
