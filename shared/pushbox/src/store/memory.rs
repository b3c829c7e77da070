//! Documents in memory, for the local stack and for tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Change, CommitError, Fields, Precondition, Query, Store, StoreError, Stored, Version, Write, limits,
};
use crate::{Clock, Path};

/// A store in memory, with Firestore's limits.
pub struct Memory {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By path.
    collections: BTreeMap<String, Collection>,
    last: Option<Version>,
}

#[derive(Default)]
struct Collection {
    /// By id.
    documents: BTreeMap<String, (Version, Fields)>,
    /// For each field that was queried once: the ids, by the field's value.
    indexes: BTreeMap<&'static str, BTreeMap<String, BTreeSet<String>>>,
}

impl Memory {
    /// An empty store with this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// A store with the same documents and versions.
    #[must_use]
    pub fn snapshot(&self, clock: Clock) -> Self {
        let state = self.lock();
        let copy = |(path, collection): (&String, &Collection)| {
            let documents = collection.documents.clone();
            (path.clone(), Collection { documents, indexes: BTreeMap::new() })
        };
        let collections = state.collections.iter().map(copy).collect();
        Self { clock, state: Mutex::new(State { collections, last: state.last }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes of the state, so a poisoned state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An empty store with the machine's clock.
impl Default for Memory {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        let now = self.clock.now();
        Ok(self.lock().find(path).map(|found| stored(now, path.id(), found)))
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        if let Some(violation) = limits::violation(writes) {
            return Err(CommitError::Refused(violation));
        }
        let mut state = self.lock();
        let holds = |write: &Write| {
            let current = state.find(&write.path).map(|(version, _)| *version);
            match write.only_if {
                Precondition::None => true,
                Precondition::Absent => current.is_none(),
                Precondition::At(version) => current == Some(version),
            }
        };
        if !writes.iter().all(holds) {
            return Err(CommitError::Conflict);
        }
        let version = state.next_version(self.clock.now());
        Ok(writes.iter().map(|write| state.apply(write, version)).collect())
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(collection) = state.collections.get_mut(&query.collection) else { return Ok(Vec::new()) };
        Ok(collection.list(query, now))
    }
}

impl State {
    fn find(&self, path: &Path) -> Option<&(Version, Fields)> {
        self.collections.get(path.collection())?.documents.get(path.id())
    }

    /// The current time, or a time just after the last version, so that versions differ.
    fn next_version(&mut self, now: Timestamp) -> Version {
        let next = |last: Version| last.0.saturating_add(Duration::from_micros(1)).unwrap_or(last.0);
        let version = Version(self.last.map_or(now, |last| now.max(next(last))));
        self.last = Some(version);
        version
    }

    fn apply(&mut self, write: &Write, version: Version) -> Version {
        let current = self.find(&write.path);
        let fields = match &write.change {
            Change::Set(fields) => Some(fields.clone()),
            Change::Add { fields, amounts } => {
                let mut document = current.map(|(_, fields)| fields.clone()).unwrap_or_default();
                super::add(&mut document, fields, amounts);
                Some(document)
            }
            Change::Delete => None,
            Change::Verify => return current.map_or(version, |(unchanged, _)| *unchanged),
        };
        if !self.collections.contains_key(write.path.collection()) {
            self.collections.insert(write.path.collection().to_owned(), Collection::default());
        }
        if let Some(collection) = self.collections.get_mut(write.path.collection()) {
            collection.replace(write.path.id(), fields.map(|fields| (version, fields)));
        }
        version
    }
}

impl Collection {
    fn replace(&mut self, id: &str, document: Option<(Version, Fields)>) {
        let old = self.documents.remove(id);
        for (field, index) in &mut self.indexes {
            if let Some(value) = old.as_ref().and_then(|(_, fields)| fields.get(*field)) {
                let value = value.to_string();
                let ids = index.get_mut(&value);
                if ids.is_some_and(|ids| ids.remove(id) && ids.is_empty()) {
                    index.remove(&value);
                }
            }
            if let Some(value) = document.as_ref().and_then(|(_, fields)| fields.get(*field)) {
                index.entry(value.to_string()).or_default().insert(id.to_owned());
            }
        }
        if let Some(document) = document {
            self.documents.insert(id.to_owned(), document);
        }
    }

    fn list(&mut self, query: &Query, now: Timestamp) -> Vec<Stored> {
        let after = query.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let matches =
            |fields: &Fields| query.filters.iter().all(|(name, value)| fields.get(*name) == Some(value));
        let Some((field, value)) = query.filters.first() else {
            let found = self.documents.range::<str, _>((after, Bound::Unbounded));
            return found.take(query.limit).map(|(id, document)| stored(now, id, document)).collect();
        };
        self.make_index(field);
        let Some(ids) = self.indexes.get(field).and_then(|index| index.get(&value.to_string())) else {
            return Vec::new();
        };
        let ids = ids.range::<str, _>((after, Bound::Unbounded));
        let found = ids.filter_map(|id| Some((id, self.documents.get(id)?)));
        let found = found.filter(|(_, (_, fields))| matches(fields)).take(query.limit);
        found.map(|(id, document)| stored(now, id, document)).collect()
    }

    /// The first query of a field builds its index.
    fn make_index(&mut self, field: &'static str) {
        let documents = &self.documents;
        self.indexes.entry(field).or_insert_with(|| {
            let mut index = BTreeMap::<String, BTreeSet<String>>::new();
            for (id, (_, fields)) in documents {
                if let Some(value) = fields.get(field) {
                    index.entry(value.to_string()).or_default().insert(id.clone());
                }
            }
            index
        });
    }
}

fn stored(now: Timestamp, id: &str, (version, fields): &(Version, Fields)) -> Stored {
    Stored::at(now, id.to_owned(), *version, fields.clone())
}
