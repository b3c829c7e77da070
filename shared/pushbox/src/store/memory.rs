//! Documents in memory, for the local stack and for tests.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Change, CommitError, Fields, Precondition, Query, RECEIPTS, Store, StoreError, Stored, Version, Write,
    limits,
};
use crate::{Clock, Path, receipt::PENDING};

/// A store in memory, with Firestore's limits.
pub struct Memory {
    clock: Clock,
    /// The most bytes of receipts whose handling is over.
    most_receipts: usize,
    state: Mutex<State>,
}

/// About how many bytes the documents of a [`Memory`] take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The receipts whose handling is over.
    pub receipts: usize,
    /// All other documents.
    pub documents: usize,
}

#[derive(Default)]
struct State {
    /// By path.
    collections: BTreeMap<String, Collection>,
    last: Option<Version>,
    used: Used,
    /// The receipts whose handling is over, the oldest first. An entry with another version is out of date.
    over: VecDeque<(Path, Version)>,
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
        Self::bounded(clock, usize::MAX)
    }

    /// An empty store that drops the oldest receipts whose handling is over, beyond about this many bytes. A message
    /// that is delivered again after that is handled again.
    #[must_use]
    pub fn bounded(clock: Clock, most_receipts: usize) -> Self {
        Self { clock, most_receipts, state: Mutex::default() }
    }

    /// About how many bytes the documents take now.
    #[must_use]
    pub fn used(&self) -> Used {
        self.lock().used
    }

    /// A store with the same documents and versions.
    #[must_use]
    pub fn snapshot(&self, clock: Clock) -> Self {
        let State { collections, last, used, over } = &*self.lock();
        let copy = |(path, collection): (&String, &Collection)| {
            let documents = collection.documents.clone();
            (path.clone(), Collection { documents, indexes: BTreeMap::new() })
        };
        let collections = collections.iter().map(copy).collect();
        let state = State { collections, last: *last, used: *used, over: over.clone() };
        Self { clock, most_receipts: self.most_receipts, state: Mutex::new(state) }
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
        let versions = writes.iter().map(|write| state.apply(write, version)).collect();
        state.drop_receipts(self.most_receipts);
        Ok(versions)
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
        self.replace(&write.path, fields.map(|fields| (version, fields)));
        version
    }

    fn replace(&mut self, path: &Path, document: Option<(Version, Fields)>) {
        let before = self.find(path).map(|(_, old)| (is_over(path, old), size(path, old)));
        if let Some((is_over, bytes)) = before {
            *self.used.of(is_over) -= bytes;
        }
        if let Some((version, new)) = &document {
            let is_over = is_over(path, new);
            *self.used.of(is_over) += size(path, new);
            if is_over {
                self.over.push_back((path.clone(), *version));
            }
        }
        if !self.collections.contains_key(path.collection()) {
            self.collections.insert(path.collection().to_owned(), Collection::default());
        }
        if let Some(collection) = self.collections.get_mut(path.collection()) {
            collection.replace(path.id(), document);
        }
    }

    fn drop_receipts(&mut self, most: usize) {
        while self.used.receipts > most
            && let Some((path, version)) = self.over.pop_front()
        {
            if self.find(&path).is_some_and(|(current, _)| *current == version) {
                self.replace(&path, None);
            }
        }
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

impl Used {
    fn of(&mut self, is_over: bool) -> &mut usize {
        if is_over { &mut self.receipts } else { &mut self.documents }
    }
}

/// Whether it is a receipt that nothing but a duplicate needs.
fn is_over(path: &Path, fields: &Fields) -> bool {
    let is = |name: &str, value: Value| fields.get(name) == Some(&value);
    path.collection().ends_with(RECEIPTS) && is("state", "done".into()) && !is(PENDING, true.into())
}

/// About how many bytes a document takes, with its place in the collection.
fn size(path: &Path, fields: &Fields) -> usize {
    const PLACE: usize = 250;
    PLACE + path.collection().len() + 3 * path.id().len() + size_of_map(fields)
}

/// A map takes its memory in nodes for up to 11 entries.
fn size_of_map(fields: &Fields) -> usize {
    const NODE: usize = 650;
    let entries = fields.iter().map(|(name, value)| name.len() + ALLOCATION + size_of_value(value));
    NODE * fields.len().div_ceil(8) + entries.sum::<usize>()
}

const ALLOCATION: usize = 16;

fn size_of_value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + ALLOCATION,
        Value::Array(values) => {
            values.iter().map(|value| size_of::<Value>() + size_of_value(value)).sum::<usize>() + ALLOCATION
        }
        Value::Object(fields) => size_of_map(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn stored(now: Timestamp, id: &str, (version, fields): &(Version, Fields)) -> Stored {
    Stored::at(now, id.to_owned(), *version, fields.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_filtered_list_reads_its_index_and_not_all_documents() {
        let store = Memory::new(Clock::system());
        let collection = Path::collection_of("crm-service", "contacts");
        let fields = json!({ "city": "Rome" }).as_object().cloned().expect("an object");
        let put = async |id: &str| {
            let (path, change) = (Path::new("crm-service", "contacts", id), Change::Set(fields.clone()));
            store
                .commit(&[Write { path, change, only_if: Precondition::None }])
                .await
                .expect("it is written");
        };
        let romans = async || {
            let filters = vec![("city", "Rome".into())];
            let query = Query { collection: collection.clone(), filters, limit: 9, ..Query::default() };
            let found = store.list(&query).await.expect("a list");
            found.into_iter().map(|stored| stored.id).collect::<Vec<_>>()
        };
        put("1").await;
        assert_eq!(romans().await, ["1"], "this builds the index");
        // Only a scan would find a document that the index does not have.
        let version = store.lock().last.expect("a version");
        let behind = |state: &mut State| {
            let contacts = state.collections.get_mut(&collection).expect("the collection");
            contacts.documents.insert("2".to_owned(), (version, fields.clone()));
        };
        behind(&mut store.lock());
        put("3").await;
        assert_eq!(romans().await, ["1", "3"]);
    }

    #[tokio::test]
    async fn the_oldest_receipts_go_and_all_other_documents_stay() {
        let store = Memory::bounded(Clock::system(), 20_000);
        let write = async |collection: &str, id: String, fields: Value| {
            let change = Change::Set(fields.as_object().cloned().unwrap_or_default());
            let path = Path::new("crm-service", collection, &id);
            store.commit(&[Write { path, change, only_if: Precondition::None }]).await.map(drop)
        };
        for number in 0..100 {
            for (collection, fields) in [
                (RECEIPTS, json!({ "state": "done", "events": [] })),
                ("receipts", json!({ "state": "claimed", "number": number })),
                ("contacts", json!({ "name": "Ada" })),
            ] {
                let state = fields["state"].as_str().unwrap_or_default().to_owned();
                write(collection, format!("{state}-{number:03}"), fields).await.expect("it is written");
            }
            write(RECEIPTS, "pending".to_owned(), json!({ "state": "done", "pending": true }))
                .await
                .expect("ok");
        }
        assert!(store.used().receipts <= 20_000, "{:?}", store.used());
        let ids = async |collection: &str| {
            let collection = Path::collection_of("crm-service", collection);
            let found = store.list(&Query { collection, limit: 1_000, ..Query::default() }).await;
            found.expect("a list").into_iter().map(|stored| stored.id).collect::<Vec<_>>()
        };
        let receipts = ids(RECEIPTS).await;
        let of = |state: &str| receipts.iter().filter(|id| id.starts_with(state)).count();
        assert!((1..100).contains(&of("done")), "{receipts:?}");
        assert!(receipts.contains(&"done-099".to_owned()) && !receipts.contains(&"done-000".to_owned()));
        assert_eq!((of("claimed"), of("pending"), ids("contacts").await.len()), (100, 1, 100));
        // A document that is deleted takes no memory.
        for id in receipts {
            let path = Path::new("crm-service", RECEIPTS, &id);
            let change = Change::Delete;
            store
                .commit(&[Write { path, change, only_if: Precondition::None }])
                .await
                .expect("it is deleted");
        }
        assert_eq!(store.used().receipts, 0);
    }
}
