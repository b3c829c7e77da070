//! The place of an event in its story: the input that caused it, and the input that began the story.

use crate::{delivery::Delivery, key::Key, wire::attribute, wire::limit};

/// The origin of the events that a handling publishes. A story begins with a command, or with an event that no
/// service of ours has published.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Origin {
    /// [`attribute::CAUSATION_ID`] of the events.
    pub(crate) cause: String,
    /// [`attribute::CORRELATION_ID`] of the events.
    pub(crate) root: String,
}

impl Origin {
    /// A command begins a story. The id of its receipt identifies it.
    pub(crate) fn of_command(key: &Key) -> Self {
        Self { cause: key.digest().to_owned(), root: key.digest().to_owned() }
    }

    /// An event continues the story that it names. Without one it begins a story.
    pub(crate) fn of_event(delivery: &Delivery) -> Self {
        let usable = |id: &&str| is_usable(id);
        let cause = delivery.attribute(attribute::ID).filter(usable).unwrap_or(delivery.identity());
        let root = delivery.attribute(attribute::CORRELATION_ID).filter(usable).unwrap_or(cause);
        Self { cause: bounded(cause), root: bounded(root) }
    }
}

/// The value comes from outside. Pub/Sub would refuse events with a longer attribute, and they would never be
/// published.
fn is_usable(id: &str) -> bool {
    id.len() <= limit::ATTRIBUTE_VALUE_BYTES
}

fn bounded(id: &str) -> String {
    id[..id.floor_char_boundary(limit::ATTRIBUTE_VALUE_BYTES)].to_owned()
}
