//! One environment variable: its value, its checks and its error messages.

use url::Url;

/// The name, the meaning and an example.
pub(super) struct Variable(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str);

impl Variable {
    /// The value, or `None` if it is missing or empty. A value that is not Unicode gets a replacement
    /// character, so that the checks call it malformed, not missing.
    pub(super) fn value(&self) -> Option<String> {
        let value = std::env::var_os(self.0)?.to_string_lossy().into_owned();
        Some(value).filter(|value| !value.is_empty())
    }

    /// The parsed value, if it is set.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.value() else { return Ok(None) };
        parse(&value).map(Some).ok_or_else(|| self.malformed(&value))
    }

    /// The checked value, if it is set.
    pub(super) fn checked(&self, is_valid: impl FnOnce(&str) -> bool) -> Result<Option<String>, String> {
        self.parsed(|value| is_valid(value).then(|| value.to_owned()))
    }

    /// The checked value, which must be set.
    pub(super) fn required(&self, is_valid: impl FnOnce(&str) -> bool) -> Result<String, String> {
        self.checked(is_valid)?.ok_or_else(|| self.missing())
    }

    pub(super) fn missing(&self) -> String {
        let Self(name, meaning, example) = self;
        format!("{name} is not set. It is {meaning}; for example {name}='{example}'")
    }

    /// The message shows only the reason, because the value can be a secret.
    pub(super) fn refused(&self, reason: &str) -> String {
        let Self(name, meaning, example) = self;
        format!("{name} is malformed: {reason}. It is {meaning}; for example {name}='{example}'")
    }

    /// The message shows `value`, so it must not be a secret.
    pub(super) fn malformed(&self, value: &str) -> String {
        let Self(name, meaning, example) = self;
        let value = value.escape_debug();
        format!("{name}='{value}' is malformed. It is {meaning}; for example {name}='{example}'")
    }
}

/// <https://cloud.google.com/resource-manager/docs/creating-managing-projects>. The emulators
/// accept any id, so this rejects only ids that no URL can carry or that are never valid.
pub(super) fn is_project(text: &str) -> bool {
    is_made_of(text, "-.:", 63) && begins_and_ends_alphanumeric(text)
}

/// The rule of `terraform/variables.tf`. The name of a service account has no room for a longer prefix.
pub(super) fn is_names_prefix(text: &str) -> bool {
    is_made_of(text, "-", 10)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.starts_with("goog")
}

/// <https://cloud.google.com/firestore/docs/manage-databases#database_id>
pub(super) fn is_database(text: &str) -> bool {
    let is_named = text.len() >= 4
        && is_made_of(text, "-", 63)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && begins_and_ends_alphanumeric(text);
    text == "(default)" || is_named
}

pub(super) fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && is_one_word(host) && port.parse::<u16>().is_ok()
    })
}

pub(super) fn is_http_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

pub(super) fn is_one_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic())
}

fn is_made_of(text: &str, punctuation: &str, max_length: usize) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || punctuation.contains(c);
    (1..=max_length).contains(&text.len()) && text.chars().all(is_allowed)
}

fn begins_and_ends_alphanumeric(text: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_alphanumeric) && text.ends_with(is_alphanumeric)
}
