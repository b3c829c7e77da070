//! Letters that have the same cause, and the choice of letters.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Letter;

/// Letters of the same service, type, code and reason. Ids, numbers and quoted texts of the reason do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Six hexadecimal digits, the same in every run.
    pub group: String,
    /// The service.
    pub service: String,
    /// The event's type.
    pub r#type: Option<String>,
    /// The code.
    pub code: String,
    /// The number of letters.
    pub count: usize,
    /// When the first of them became a dead letter.
    pub oldest: Timestamp,
    /// When the last of them did.
    pub newest: Timestamp,
    /// The largest number of replays that have come back as one of the letters.
    pub came_back: u32,
    /// The reason, without what differs.
    pub reason: String,
}

/// Groups letters, the largest group first.
#[must_use]
pub fn groups<'a>(letters: impl IntoIterator<Item = &'a Letter>) -> Vec<Group> {
    let mut groups = BTreeMap::<String, Group>::new();
    for letter in letters {
        let group = groups.entry(letter.group()).or_insert_with_key(|group| Group {
            group: group.clone(),
            service: letter.service.clone(),
            r#type: letter.event_type.clone(),
            code: letter.code.clone(),
            count: 0,
            oldest: letter.parked_at,
            newest: letter.parked_at,
            came_back: 0,
            reason: without_values(&letter.reason),
        });
        group.count += 1;
        group.oldest = group.oldest.min(letter.parked_at);
        group.newest = group.newest.max(letter.parked_at);
        group.came_back = group.came_back.max(letter.came_back);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.group.cmp(&b.group)));
    groups
}

impl Letter {
    /// The id of its group.
    #[must_use]
    pub fn group(&self) -> String {
        let reason = without_values(&self.reason);
        let parts = [&self.service, self.event_type.as_deref().unwrap_or_default(), &self.code, &reason];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().take(3).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The reason with `…` in place of quoted texts, numbers and ids.
pub(crate) fn without_values(reason: &str) -> String {
    let mut blanked = String::new();
    let mut rest = reason;
    while let Some(first) = rest.chars().next() {
        let quoted = ['"', '`'].contains(&first).then(|| rest[1..].find(first)).flatten();
        let is_word = |character: char| character.is_alphanumeric() || "_-.:".contains(character);
        let word = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let end = match quoted {
            Some(end) => end + 2,
            None if word > 0 => word,
            None => first.len_utf8(),
        };
        let part = &rest[..end];
        // An id in hexadecimal digits may have no decimal one.
        let is_id = word >= 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_value = quoted.is_some() || is_id || part.bytes().any(|byte| byte.is_ascii_digit());
        blanked.push_str(if is_value { "…" } else { part });
        rest = &rest[end..];
    }
    blanked
}

/// A choice of letters. Every field that is set must match.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Ids of letters.
    pub ids: BTreeSet<String>,
    /// The id of a group.
    pub group: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// Only letters from this time on.
    pub since: Option<Timestamp>,
    /// Only letters from before this time.
    pub before: Option<Timestamp>,
}

impl Selection {
    /// Whether the letter is chosen.
    #[must_use]
    pub fn picks(&self, letter: &Letter) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        (self.ids.is_empty() || self.ids.contains(&letter.id))
            && self.group.as_ref().is_none_or(|group| *group == letter.group())
            && is(&self.service, &letter.service)
            && is(&self.event_type, letter.event_type.as_deref().unwrap_or_default())
            && is(&self.code, &letter.code)
            && self.since.is_none_or(|since| letter.parked_at >= since)
            && self.before.is_none_or(|before| letter.parked_at < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_values_are_one_reason() {
        for (reason, expected) in [
            ("there is no order f8342fdf90aa", "there is no order …"),
            ("there is no order abcdefabcdefabcdef", "there is no order …"),
            ("the data is not `user.created`: at /email", "the data is not …: at /email"),
            ("gave up after 95 deliveries: \"a b\" is no name", "gave up after … deliveries: … is no name"),
            ("an open \" quote", "an open \" quote"),
            ("é … ü", "é … ü"),
            ("", ""),
        ] {
            assert_eq!(without_values(reason), expected, "{reason}");
        }
    }
}
