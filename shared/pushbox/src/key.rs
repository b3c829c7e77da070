//! Keys: the identity of an event, a message or a command.

use std::fmt;

use sha2::{Digest, Sha256};

/// The identity of an event, a message or a command. Each key has one receipt.
///
/// Two keys have the same digest only if their kind and all their parts are equal. The digest needs no
/// separator, which a part could contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    digest: String,
    text: String,
}

impl Key {
    /// A CloudEvent. Its source and id stay the same when a relay publishes it again.
    pub(crate) fn event(source: &str, id: &str) -> Self {
        Self::of("event", &[source, id])
    }

    /// A message without a CloudEvents id. Its id is
    /// [unique within its topic](https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage),
    /// so the subscription belongs to the key.
    pub(crate) fn message(subscription: Option<&str>, message_id: &str) -> Self {
        Self::of("message", &[subscription.unwrap_or("none"), message_id])
    }

    /// A request to a route, with the caller's idempotency key. The key of a signed-in user is the user's own.
    pub(crate) fn command(route: &str, user: Option<&str>, idempotency_key: &str) -> Self {
        match user {
            Some(user) => Self::of("user's command", &[route, user, idempotency_key]),
            None => Self::of("command", &[route, idempotency_key]),
        }
    }

    fn of(kind: &str, parts: &[&str]) -> Self {
        let all: Vec<&str> = [kind].iter().chain(parts).copied().collect();
        let mut digest = digest(&all);
        digest.truncate(40);
        Self { digest, text: parts.join(" ") }
    }

    /// The id of the receipt: 40 hexadecimal digits. Ids that sort by time would be
    /// [a hotspot](https://firebase.google.com/docs/firestore/best-practices#hotspots).
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

/// The parts, separated by spaces, for people.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The SHA-256 of the parts, in hexadecimal digits.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length makes ["ab", "c"] and ["a", "bc"] different.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut hex = String::with_capacity(64);
    let digits = hash.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    hex.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    hex
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn different_things_have_different_keys() {
        let keys = [
            Key::event("a b", "c"),
            Key::event("a", "b c"),
            Key::event("a b c", ""),
            Key::message(Some("a b"), "c"),
            Key::message(Some("a"), "b c"),
            Key::message(None, "c"),
            Key::command("a b", None, "c"),
            Key::command("a", None, "b c"),
            Key::command("a", Some("b"), "c"),
            Key::command("a", Some("other"), "c"),
            Key::event("POST /users", "k"),
            Key::command("POST /users", None, "k"),
            Key::event("projects/p/subscriptions/s", "1"),
            Key::message(Some("projects/p/subscriptions/s"), "1"),
        ];
        let digests: BTreeSet<&str> = keys.iter().map(Key::digest).collect();
        assert_eq!(digests.len(), keys.len());
        assert!(digests.iter().all(|digest| digest.len() == 40));
    }
}
