//! One environment variable, and what a person needs to know who has to set it.

/// Its name, what it is, and an example.
pub(super) struct Variable(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str);

impl Variable {
    /// Its value; an empty one counts as not set. What is not Unicode keeps a replacement
    /// character, so that it is malformed rather than not set.
    pub(super) fn value(&self) -> Option<String> {
        let value = std::env::var_os(self.0)?.to_string_lossy().into_owned();
        Some(value).filter(|value| !value.is_empty())
    }

    /// Its value as a `T`, if it is set.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.value() else { return Ok(None) };
        parse(&value).map(Some).ok_or_else(|| self.malformed(&value))
    }

    /// Its value, which is of a certain form if it is set.
    pub(super) fn checked(&self, is_good: impl FnOnce(&str) -> bool) -> Result<Option<String>, String> {
        self.parsed(|value| is_good(value).then(|| value.to_owned()))
    }

    /// Its value, which must be set.
    pub(super) fn required(&self, is_good: impl FnOnce(&str) -> bool) -> Result<String, String> {
        self.checked(is_good)?.ok_or_else(|| self.missing())
    }

    pub(super) fn missing(&self) -> String {
        let Self(name, what, example) = self;
        format!("{name} is not set. It is {what}; for example {name}='{example}'")
    }

    /// `value` is shown, so it must not be a secret.
    pub(super) fn malformed(&self, value: &str) -> String {
        let Self(name, what, example) = self;
        let value = value.escape_debug();
        format!("{name}='{value}' is malformed. It is {what}; for example {name}='{example}'")
    }
}

/// <https://cloud.google.com/resource-manager/docs/creating-managing-projects>. The emulators take
/// any name, so only what no URL can carry is refused, and what never is one.
pub(super) fn is_project(text: &str) -> bool {
    is_made_of(text, "-.:", 63) && begins_and_ends_alphanumeric(text)
}

/// As in `terraform/variables.tf`: what a service account's name has room for.
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

pub(super) fn is_one_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic())
}

fn is_made_of(text: &str, signs: &str, longest: usize) -> bool {
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || signs.contains(c);
    (1..=longest).contains(&text.len()) && text.chars().all(is_good)
}

fn begins_and_ends_alphanumeric(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_good) && text.ends_with(is_good)
}
