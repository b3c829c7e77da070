//! The attributes of a dead letter, within Pub/Sub's limits.

use std::collections::BTreeMap;

use crate::wire::{attribute, limit};

/// The attributes that make a replay the same event, and that tell what has become of a replay.
const NEEDED: [&str; 6] = [
    attribute::ID,
    attribute::SOURCE,
    attribute::TYPE,
    attribute::CONTENT_TYPE,
    attribute::REPLAY_ID,
    attribute::REPLAY_ATTEMPT,
];

/// The original and the added attributes, within Pub/Sub's limits. Long values are truncated. If there are
/// too many attributes, original ones that a replay does not need are dropped; another attribute holds
/// their number.
pub(crate) fn fitting(
    original: &BTreeMap<String, String>,
    added: &BTreeMap<&str, &str>,
) -> BTreeMap<String, String> {
    let mut attributes: BTreeMap<String, String> =
        added.iter().map(|(name, value)| ((*name).to_owned(), cut(value))).collect();
    let is_publishable = |name: &str| {
        !name.is_empty()
            && name.len() <= limit::ATTRIBUTE_NAME_BYTES
            && !name.starts_with(limit::RESERVED_NAME_PREFIX)
            && !added.contains_key(name)
    };
    let is_needed = |name: &str| NEEDED.contains(&name);
    let (needed, others): (Vec<_>, Vec<_>) = original.iter().partition(|(name, _)| is_needed(name));
    let mut dropped = 0;
    for (name, value) in needed.into_iter().chain(others) {
        // One place is reserved for the number.
        if is_publishable(name) && attributes.len() < limit::ATTRIBUTES - 1 {
            attributes.insert(name.clone(), cut(value));
        } else if !added.contains_key(name.as_str()) {
            dropped += 1;
        }
    }
    if dropped > 0 {
        attributes.insert(attribute::DEAD_LETTER_DROPPED.to_owned(), dropped.to_string());
    }
    attributes
}

fn cut(value: &str) -> String {
    value[..value.floor_char_boundary(limit::ATTRIBUTE_VALUE_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_has_at_most_what_pubsub_takes() {
        let added = BTreeMap::from([
            (attribute::DEAD_LETTER_REASON, "because"),
            (attribute::DEAD_LETTER_SERVICE, "crm-service"),
        ]);
        for (others, dropped) in
            [(0, None), (96, None), (97, Some("1")), (100, Some("4")), (1000, Some("904"))]
        {
            let mut original: BTreeMap<String, String> =
                (0..others).map(|number| (format!("ce-a{number}"), "é".repeat(600))).collect();
            original.insert("ce-id".to_owned(), "1".to_owned());
            let fitted = fitting(&original, &added);
            assert!(fitted.len() <= limit::ATTRIBUTES, "{others}: {}", fitted.len());
            assert!(fitted.values().all(|value| value.len() <= limit::ATTRIBUTE_VALUE_BYTES), "{others}");
            assert_eq!(fitted["ce-id"], "1", "{others}");
            assert_eq!(fitted[attribute::DEAD_LETTER_REASON], "because", "{others}");
            assert_eq!(fitted.get(attribute::DEAD_LETTER_DROPPED).map(String::as_str), dropped, "{others}");
        }
    }

    #[test]
    fn a_name_that_pubsub_refuses_is_dropped() {
        let refused = ["", "googclient_traceparent", &"n".repeat(257)];
        let original = refused.map(|name| (name.to_owned(), "x".to_owned())).into();
        let fitted = fitting(&original, &BTreeMap::new());
        assert_eq!(fitted, BTreeMap::from([(attribute::DEAD_LETTER_DROPPED.to_owned(), "3".to_owned())]));
    }
}
