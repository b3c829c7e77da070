//! E-mail addresses. `Debug` hides them, which keeps them out of logs.

use std::{fmt, str::FromStr};

use icu_normalizer::ComposingNormalizerBorrowed;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    converts_from_and_into_string,
    names::{BLANK, is_hidden},
};

/// The text is not an e-mail address that mail can be sent to.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not an e-mail address; it should look like ann@example.com")]
pub struct InvalidEmail;

/// An e-mail address. Each mailbox has one normalised form.
///
/// The local part before the `@` has 1 to 64 bytes: letters and digits of any script and
/// ``!#$%&'*+/=?^_`{|}~-``, with single dots between them. Quotes are not allowed. The domain after
/// the `@` has two labels or more. The last label begins with a letter, so the domain is not an IP
/// address. The address has at most 254 bytes.
///
/// Normalisation trims blanks and changes upper case to lower case. It changes the local part to
/// Unicode's form NFC and the domain to the ASCII form of IDNA: `ann@bücher.example` becomes
/// `ann@xn--bcher-kva.example`.
///
/// RFC 5321 allows a server to distinguish `Ann@` from `ann@`. No server in use does, and two
/// accounts for one mailbox would do more harm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("allOf" = patterns()))]
pub struct EmailAddress(String);

const MAX_BYTES: usize = 254;

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
        let (local, domain) = text.trim().rsplit_once('@').ok_or(InvalidEmail)?;
        let local = local_part(local).ok_or(InvalidEmail)?;
        let domain = domain_name(domain).ok_or(InvalidEmail)?;
        let address = format!("{local}@{domain}");
        if address.len() <= MAX_BYTES { Ok(Self(address)) } else { Err(InvalidEmail) }
    }
}

fn local_part(text: &str) -> Option<String> {
    let text = ComposingNormalizerBorrowed::new_nfc().normalize(&text.to_lowercase()).into_owned();
    // lettre, which sends the mails, uses the same check. It accepts quoted text, which many servers reject.
    let is_sendable = email_address::EmailAddress::is_valid_local_part(&text);
    (is_sendable && !text.contains('"') && !text.contains(is_hidden)).then_some(text)
}

fn domain_name(text: &str) -> Option<String> {
    let (denied, hyphens, length) = (AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify);
    let name = Uts46::new().to_ascii(text.as_bytes(), denied, hyphens, length).ok()?;
    let (_, last) = name.rsplit_once('.')?;
    last.starts_with(|c: char| c.is_ascii_lowercase()).then(|| name.into_owned())
}

/// The rule as far as patterns can express it, for readers of the schema. Each pattern must match.
fn patterns() -> Value {
    let atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00A1-\uFFFF-]+";
    let rest = "([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    let domain = format!(r"([A-Za-z0-9]{rest}\.)+[A-Za-z]{rest}");
    json!([
        { "pattern": format!(r"^[{BLANK}]*{atom}(\.{atom})*@{domain}[{BLANK}]*$") },
        { "pattern": format!("^[{BLANK}]*[^@{BLANK}]{{1,64}}@") },
        { "pattern": format!("^[{BLANK}]*[^{BLANK}]{{1,{MAX_BYTES}}}[{BLANK}]*$") },
    ])
}

converts_from_and_into_string!(EmailAddress);

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_valid_addresses_and_rejects_others() {
        let longest_local = "x".repeat(64);
        let label = "y".repeat(63);
        let longest = format!("{longest_local}@{label}.{label}.{}.com", "z".repeat(57));
        assert_eq!(longest.len(), 254);
        for (given, expected) in [
            ("ann@example.com", Some("ann@example.com")),
            ("  Ann.O'Neil+news@Example.COM ", Some("ann.o'neil+news@example.com")),
            ("ann@bücher.example", Some("ann@xn--bcher-kva.example")),
            ("ann@BU\u{308}CHER.example", Some("ann@xn--bcher-kva.example")),
            ("ann@xn--bcher-kva.example", Some("ann@xn--bcher-kva.example")),
            ("zoë@example.com", Some("zoë@example.com")),
            ("zoe\u{308}@example.com", Some("zoë@example.com")),
            (&longest, Some(&longest)),
            (&format!("x{longest_local}@example.com"), None),
            (&longest.replace(".com", "z.com"), None),
            (&format!("ann@{}.com", "y".repeat(64)), None),
            ("ann", None),
            ("", None),
            ("@example.com", None),
            ("ann@", None),
            ("ann@localhost", None),
            ("ann@example.com.", None),
            ("ann@-example.com", None),
            ("ann@exam_ple.com", None),
            ("ann@xn--zzzzzz.example", None),
            ("Ann <ann@example.com>", None),
            ("\"a b\"@example.com", None),
            ("\"ann\"@example.com", None),
            ("an..n@example.com", None),
            (".ann@example.com", None),
            ("ann@bob@example.com", None),
            ("a\u{3164}n@example.com", None),
            ("ann@[127.0.0.1]", None),
            ("ann@127.0.0.1", None),
            ("ann@0x7f.1", None),
            ("ann@1.0x7f", None),
            ("ann@example.1", None),
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
    fn debug_output_hides_the_address() {
        let shown = format!("{:?}", "ann@example.com".parse::<EmailAddress>());
        assert!(!shown.to_lowercase().contains("ann"), "{shown}");
    }
}
