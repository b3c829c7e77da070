//! Counts that must agree, for people who want to see the guarantee hold.

use crate::{
    Path,
    store::{Query, Store, StoreError, Stored},
};

/// The most documents of a collection that are read. Beyond that, a count says so and is not compared.
pub const MOST: usize = 2_000;

/// Counts that agree once all events are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What must hold, such as `Every user has one contact, one mail and one charge`.
    pub claim: &'static str,
    /// The counts, by name.
    pub terms: Vec<(&'static str, u64)>,
    /// The first count is the sum of the others. Otherwise all counts are equal.
    pub is_sum: bool,
    /// Whether it holds now. None if there is too much to count.
    pub holds: Option<bool>,
}

impl Balance {
    /// All counts must be equal.
    #[must_use]
    pub fn equal(claim: &'static str, terms: Vec<(&'static str, u64)>) -> Self {
        let is_counted = terms.iter().all(|(_, count)| *count < MOST as u64);
        let is_equal = terms.windows(2).all(|pair| pair[0].1 == pair[1].1);
        Self { claim, terms, is_sum: false, holds: is_counted.then_some(is_equal) }
    }

    /// The first count must be the sum of the others.
    #[must_use]
    pub fn sum(claim: &'static str, terms: Vec<(&'static str, u64)>) -> Self {
        let sum = terms.iter().skip(1).map(|(_, count)| count).sum::<u64>();
        let holds = terms.first().is_none_or(|(_, total)| *total == sum);
        Self { claim, terms, is_sum: true, holds: Some(holds) }
    }

    /// Compares nothing if one of the lists that were counted may be longer than [`MOST`].
    #[must_use]
    pub fn counted_from(mut self, lists: &[&[Stored]]) -> Self {
        if lists.iter().any(|list| list.len() >= MOST) {
            self.holds = None;
        }
        self
    }
}

/// The documents of a service's collection, at most [`MOST`] of them.
///
/// # Errors
/// The store fails.
pub async fn documents(
    store: &dyn Store,
    service: &str,
    collection: &str,
) -> Result<Vec<Stored>, StoreError> {
    let collection = Path::collection_of(service, collection);
    store.list(&Query { collection, limit: MOST, ..Query::default() }).await
}

/// The number of documents in a service's collection, at most [`MOST`].
///
/// # Errors
/// The store fails.
pub async fn count(store: &dyn Store, service: &str, collection: &str) -> Result<u64, StoreError> {
    documents(store, service, collection).await.map(|found| found.len() as u64)
}
