//! Documents and their paths.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// A type that is stored as one document, at `services/<service>/<COLLECTION>/<id>`.
///
/// Firestore accepts at most 1 MiB, no list directly inside a list, and no integer beyond an `i64`.
pub trait Document: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The collection, such as `contacts`.
    const COLLECTION: &'static str;

    /// The document's id within the collection.
    fn id(&self) -> String;
}

/// The path of a document, relative to the database.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    text: String,
    /// The end of the collection's path in the text.
    collection: usize,
}

impl Path {
    /// `services/<service>/<collection>/<id>`. Any id is possible: characters that Firestore refuses are
    /// escaped.
    #[must_use]
    pub fn new(service: &str, collection: &str, id: &str) -> Self {
        let mut text = Self::collection_of(service, collection);
        let collection = text.len();
        text.reserve(1 + id.len());
        text.push('/');
        push_safe(&mut text, id);
        Self { text, collection }
    }

    /// The collection's path: `services/<service>/<collection>`.
    #[must_use]
    pub fn collection_of(service: &str, collection: &str) -> String {
        ["services", service, collection].join("/")
    }

    /// `services/<service>/<collection>`.
    #[must_use]
    pub fn collection(&self) -> &str {
        &self.text[..self.collection]
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The last segment.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[self.collection + 1..]
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Firestore refuses `/`, `.`, `..`, `__.*__` and the empty id
/// (<https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields>).
fn push_safe(path: &mut String, id: &str) {
    if matches!(id, "" | "." | "..") || id.starts_with("__") {
        path.push('%');
    }
    for character in id.chars() {
        match character {
            '%' => path.push_str("%25"),
            '/' => path.push_str("%2F"),
            other => path.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_leaves_its_collection_and_no_two_share_a_path() {
        let ids = ["a", "a/b", "a%2Fb", "", ".", "..", "__x__", "%", "%.", "%25"];
        let paths: std::collections::BTreeSet<String> =
            ids.iter().map(|id| Path::new("crm-service", "contacts", id).to_string()).collect();
        assert_eq!(paths.len(), ids.len(), "{paths:?}");
        for path in &paths {
            let rest = path.strip_prefix("services/crm-service/contacts/").expect("prefix");
            assert!(!["", ".", ".."].contains(&rest) && !rest.contains('/') && !rest.starts_with("__"));
        }
    }
}
