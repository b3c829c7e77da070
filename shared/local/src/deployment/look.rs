//! What the console keeps of a look at the dead letters. Letters can be large and many, so each part has a bound.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use redrive::{Group, Letter, groups};

use super::sought::Sought;
use crate::console::shared::pretty;

/// How many groups are kept, the largest first.
pub(super) const MOST_GROUPS: usize = 50;

/// How many letters of a group are kept, the newest first.
pub(super) const MOST_LISTED: usize = 20;

/// The most bytes of one letter's data.
pub(super) const MOST_DATA: usize = 16 << 10;

/// The most bytes of all letters that are kept.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// A look at the dead letters.
pub(super) struct Looked {
    pub(super) at: Timestamp,
    pub(super) count: usize,
    /// Whether the look has seen everything that nobody else held.
    pub(super) is_all: bool,
    pub(super) group_count: usize,
    pub(super) groups: Vec<(Group, Vec<Shown>)>,
}

/// A letter, as the page shows it.
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) parked_at: Timestamp,
    /// What finds the story of the event.
    pub(super) story: Option<String>,
    masked: Content,
    unmasked: Content,
}

/// What can be personal in a letter.
pub(super) struct Content {
    pub(super) reason: String,
    pub(super) attributes: BTreeMap<String, String>,
    /// The beginning of the data.
    pub(super) data: String,
    /// The number of bytes that follow.
    pub(super) more: usize,
}

impl Looked {
    pub(super) fn of(all: &[Letter], is_all: bool) -> Arc<Self> {
        let mut newest = BTreeMap::<String, Vec<&Letter>>::new();
        for letter in all.iter().rev() {
            let letters = newest.entry(letter.group()).or_default();
            if letters.len() < MOST_LISTED {
                letters.push(letter);
            }
        }
        let found = groups(all);
        let group_count = found.len();
        let mut groups: Vec<(Group, Vec<Shown>)> =
            found.into_iter().take(MOST_GROUPS).map(|group| (group, Vec::new())).collect();
        let mut room = MOST_BYTES;
        // Each group gets its newest letter before any group gets a second one.
        for rank in 0..MOST_LISTED {
            for (group, shown) in &mut groups {
                let letter = newest.get(&group.group).and_then(|letters| letters.get(rank));
                let fitting = letter.map(|letter| Shown::of(letter)).filter(|letter| letter.bytes() <= room);
                if let Some(letter) = fitting {
                    room -= letter.bytes();
                    shown.push(letter);
                }
            }
        }
        Arc::new(Self { at: Timestamp::now(), count: all.len(), is_all, group_count, groups })
    }
}

impl Shown {
    fn of(letter: &Letter) -> Self {
        Self {
            id: letter.id.clone(),
            parked_at: letter.parked_at,
            story: Sought::of_letter(letter),
            masked: Content::of(letter, false),
            unmasked: Content::of(letter, true),
        }
    }

    pub(super) fn content(&self, unmask: bool) -> &Content {
        if unmask { &self.unmasked } else { &self.masked }
    }

    fn bytes(&self) -> usize {
        self.masked.bytes() + self.unmasked.bytes()
    }
}

impl Content {
    fn of(letter: &Letter, unmask: bool) -> Self {
        let (text, more) = letter.excerpt(unmask, MOST_DATA);
        // Only a whole text is JSON. Its lines and indentation can be longer than the text was.
        let text = if more == 0 { pretty(&text) } else { text };
        let end = text.floor_char_boundary(MOST_DATA);
        Self {
            reason: letter.shown_reason(unmask),
            attributes: letter.shown_attributes(unmask),
            data: text[..end].to_owned(),
            more: more + text.len() - end,
        }
    }

    fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.reason.len() + attributes + self.data.len()
    }
}
