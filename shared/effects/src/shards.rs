//! Pages of items that are spread over several documents, their shards.

use std::collections::BTreeMap;

use pushbox::{Document, Documents, Failure, Page};

/// A document that holds a part of an item. The ids of an item's shards begin with its key, so that
/// they stand together, and in the order of the keys.
pub trait Shard: Document {
    /// The key that all shards of an item share.
    type Key: Ord;

    /// The key of this shard's item.
    fn key(&self) -> Self::Key;

    /// The cursor after this item: no shard of the item has a greater id, and no shard of a later
    /// item has a smaller one.
    fn cursor(key: &Self::Key) -> String;
}

/// One page of items, in the order of their keys. `merge` adds a shard to its item, or begins the item
/// with its first shard. An item has at most `shards` shards.
///
/// # Errors
/// [`Failure::Retry`] when the store fails, or holds something that is not an `S`.
pub async fn page<S: Shard, T>(
    documents: &Documents,
    after: &str,
    limit: usize,
    shards: u64,
    merge: impl Fn(Option<T>, S) -> T,
) -> Result<Page<T>, Failure> {
    let largest_page = limit.saturating_mul(usize::try_from(shards).unwrap_or(usize::MAX));
    // One document more than the page can have: if it is found, it belongs to a later item. So all
    // items of the page are complete.
    let found: Vec<S> = documents.after(after, largest_page.saturating_add(1)).await?;
    let mut items = BTreeMap::new();
    for shard in found {
        let key = shard.key();
        let item = merge(items.remove(&key), shard);
        items.insert(key, item);
    }
    let page = Page::cut(items.into_iter().collect(), limit, |(key, _)| S::cursor(key));
    Ok(Page { items: page.items.into_iter().map(|(_, item)| item).collect(), next: page.next })
}
