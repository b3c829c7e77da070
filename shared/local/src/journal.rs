//! The latest changes, numbered, for the stream of the console.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// How many changes are kept.
pub(crate) const MOST_CHANGES: usize = 5_000;

/// The latest changes. A clone is another handle to the same journal.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Ring>>);

#[derive(Default)]
struct Ring {
    changes: VecDeque<Change>,
    /// The number of the last change.
    last: u64,
}

/// Something that the console shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum Change {
    /// An event was published.
    Published { event: String, source: Option<String> },
    /// A delivery has ended.
    Delivered { event: String, service: String, result: &'static str },
    /// Something else has changed, such as the state of a service.
    Other,
}

/// The changes after a number.
#[derive(Debug, PartialEq)]
pub(crate) struct Since {
    pub(crate) changes: Vec<Change>,
    /// The number of the last of them.
    pub(crate) last: u64,
    /// Some changes after the number are no longer kept.
    pub(crate) has_gap: bool,
}

impl Journal {
    pub(crate) fn note(&self, change: Change) {
        let mut ring = self.lock();
        ring.last += 1;
        ring.changes.push_back(change);
        if ring.changes.len() > MOST_CHANGES {
            ring.changes.pop_front();
        }
    }

    /// The number of the last change.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    /// The changes after the one with this number. A number that is still to come is from another process: then it
    /// returns all that are kept.
    pub(crate) fn since(&self, number: u64) -> Since {
        let ring = self.lock();
        let first = ring.last - ring.changes.len() as u64;
        let is_known = (first..=ring.last).contains(&number);
        let from = if is_known { number } else { first };
        let skipped = usize::try_from(from - first).unwrap_or(usize::MAX);
        Since {
            changes: ring.changes.iter().skip(skipped).cloned().collect(),
            last: ring.last,
            has_gap: !is_known,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // No code panics between two changes of the ring, so a poisoned one is still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_continues_where_it_stopped_or_learns_that_it_missed_something() {
        let journal = Journal::default();
        let noted = |journal: &Journal, number: u64| {
            let Since { changes, last, has_gap } = journal.since(number);
            (changes.len(), last, has_gap)
        };
        assert_eq!(noted(&journal, 0), (0, 0, false));
        assert_eq!(noted(&journal, 7), (0, 0, true));
        (0..3).for_each(|_| journal.note(Change::Other));
        assert_eq!(noted(&journal, 0), (3, 3, false));
        assert_eq!(noted(&journal, 2), (1, 3, false));
        assert_eq!(noted(&journal, 3), (0, 3, false));
        (0..MOST_CHANGES).for_each(|_| journal.note(Change::Other));
        assert_eq!(noted(&journal, 3), (MOST_CHANGES, 5_003, false));
        assert_eq!(noted(&journal, 2), (MOST_CHANGES, 5_003, true));
    }
}
