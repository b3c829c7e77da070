//! Documents in this process: for the local stack, and for tests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Change, CommitError, Fields, Precondition, Query, Store, StoreError, Stored, Version, Write};
use crate::Path;

/// A store that forgets everything when the process ends.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    documents: BTreeMap<Path, (Version, Fields)>,
    commits: i64,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics between two changes of the state, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        Ok(self.lock().documents.get_key_value(path).map(stored))
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        let mut state = self.lock();
        let holds = |write: &Write| {
            let current = state.documents.get(&write.path).map(|(version, _)| *version);
            match write.only_if {
                Precondition::None => true,
                Precondition::Absent => current.is_none(),
                Precondition::At(version) => current == Some(version),
            }
        };
        if !writes.iter().all(holds) {
            return Err(CommitError::Conflict);
        }
        state.commits += 1;
        let version = Version { seconds: state.commits, nanos: 0 };
        Ok(writes.iter().map(|write| state.apply(write, version)).collect())
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        let matches = |path: &Path, fields: &Fields| {
            path.collection() == query.collection
                && query.after.as_deref().is_none_or(|after| path.id() > after)
                && query.filters.iter().all(|(name, value)| fields.get(*name) == Some(value))
        };
        let state = self.lock();
        let found = state.documents.iter().filter(|(path, (_, fields))| matches(path, fields));
        Ok(found.take(query.limit).map(stored).collect())
    }
}

impl State {
    fn apply(&mut self, write: &Write, version: Version) -> Version {
        match &write.change {
            Change::Set(fields) => {
                self.documents.insert(write.path.clone(), (version, fields.clone()));
            }
            Change::Add { fields, amounts } => {
                let document = self.documents.entry(write.path.clone()).or_insert((version, Fields::new()));
                document.0 = version;
                super::add(&mut document.1, fields, amounts);
            }
            Change::Delete => {
                self.documents.remove(&write.path);
            }
            Change::Verify => {
                return self.documents.get(&write.path).map_or(version, |(unchanged, _)| *unchanged);
            }
        }
        version
    }
}

fn stored((path, (version, fields)): (&Path, &(Version, Fields))) -> Stored {
    Stored { id: path.id().to_owned(), version: *version, fields: fields.clone() }
}
