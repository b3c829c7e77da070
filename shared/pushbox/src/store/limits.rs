//! [Firestore's limits](https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields).
//! The number of writes in a commit has no limit.

use serde_json::Value;

use super::{Change, Fields, RECEIPTS, TTL_FIELD, UNINDEXED_RECEIPT_FIELDS, Write};
use crate::Path;

const MAX_COMMIT_BYTES: usize = 10 << 20;
const MAX_DOCUMENT_BYTES: usize = 1 << 20;
const MAX_ID_BYTES: usize = 1500;
const MAX_DEPTH: usize = 20;
const MAX_INDEX_ENTRIES: usize = 40_000;

/// Describes the limit that these writes break, without a value or an id.
pub(super) fn violation(writes: &[Write]) -> Option<String> {
    let mut commit_bytes = 0;
    for write in writes {
        let mut document = Document { bytes: 32 + name_bytes(&write.path), index_entries: 0 };
        let broken = broken_by_id(write.path.id())
            .or_else(|| fields_of(&write.change).and_then(|fields| document.add(&write.path, fields)))
            .or_else(|| {
                (document.bytes > MAX_DOCUMENT_BYTES).then(|| {
                    format!("{} bytes, and a document has at most {MAX_DOCUMENT_BYTES}", document.bytes)
                })
            })
            .or_else(|| {
                (document.index_entries > MAX_INDEX_ENTRIES).then(|| {
                    format!(
                        "{} index entries, and a document has at most {MAX_INDEX_ENTRIES}",
                        document.index_entries
                    )
                })
            });
        if let Some(broken) = broken {
            let collection = write.path.collection().rsplit('/').next().unwrap_or_default();
            return Some(format!("a document in {collection}: {broken}"));
        }
        commit_bytes += document.bytes;
    }
    (commit_bytes > MAX_COMMIT_BYTES)
        .then(|| format!("{commit_bytes} bytes, and a commit has at most {MAX_COMMIT_BYTES}"))
}

fn fields_of(change: &Change) -> Option<&Fields> {
    match change {
        Change::Set(fields) | Change::Add { fields, .. } => Some(fields),
        Change::Delete | Change::Verify => None,
    }
}

fn broken_by_id(id: &str) -> Option<String> {
    (id.len() > MAX_ID_BYTES).then(|| format!("its id is longer than {MAX_ID_BYTES} bytes"))
}

/// <https://firebase.google.com/docs/firestore/storage-size#document-name-size>
fn name_bytes(path: &Path) -> usize {
    16 + path.as_str().split('/').map(|segment| segment.len() + 1).sum::<usize>()
}

/// The [size](https://firebase.google.com/docs/firestore/storage-size) of a document.
struct Document {
    bytes: usize,
    index_entries: usize,
}

impl Document {
    /// Adds top-level fields. Fails with the limit that one of them breaks.
    fn add(&mut self, path: &Path, fields: &Fields) -> Option<String> {
        let is_receipt = path.collection().ends_with(RECEIPTS);
        fields.iter().find_map(|(name, value)| {
            if name == TTL_FIELD && value.as_str().is_none_or(|text| text.parse::<jiff::Timestamp>().is_err())
            {
                return Some(format!("{TTL_FIELD} is not a time"));
            }
            self.bytes += name.len() + 1;
            let is_indexed = !(is_receipt && UNINDEXED_RECEIPT_FIELDS.contains(&name.as_str()));
            self.value(value, 1, is_indexed)
        })
    }

    fn value(&mut self, value: &Value, depth: usize, is_indexed: bool) -> Option<String> {
        if depth > MAX_DEPTH {
            return Some(format!("it is nested more than {MAX_DEPTH} levels deep"));
        }
        let mut scalar = |bytes| {
            self.bytes += bytes;
            // There is one entry for each direction.
            self.index_entries += if is_indexed { 2 } else { 0 };
        };
        match value {
            Value::Null | Value::Bool(_) => scalar(1),
            Value::Number(number) if number.is_u64() && !number.is_i64() => {
                return Some("a number is larger than an i64".to_owned());
            }
            Value::Number(_) => scalar(8),
            Value::String(text) => scalar(text.len() + 1),
            Value::Array(values) => {
                if values.iter().any(Value::is_array) {
                    return Some("a list is directly inside of a list".to_owned());
                }
                return values.iter().find_map(|value| self.value(value, depth + 1, is_indexed));
            }
            Value::Object(fields) => {
                return fields.iter().find_map(|(name, value)| {
                    self.bytes += name.len() + 1;
                    self.value(value, depth + 1, is_indexed)
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Precondition;

    fn set(id: &str, value: Value) -> Write {
        let Value::Object(fields) = value else { panic!("an object") };
        let path = Path::new("a-service", "things", id);
        Write { path, change: Change::Set(fields), only_if: Precondition::None }
    }

    #[test]
    fn names_the_limit_and_no_value() {
        let nested = (0..21).fold(json!(1), |inner, _| json!({ "secret": inner }));
        for (writes, expected) in [
            (vec![set("a", json!({ "secret": "x".repeat(1000) }))], None),
            (vec![set("a", json!({ "secret": "x".repeat(1 << 20) }))], Some("bytes, and a document")),
            (vec![set("a", json!({ "secret": u64::MAX }))], Some("larger than an i64")),
            (vec![set("a", json!({ "secret": [[1]] }))], Some("list is directly inside")),
            (vec![set("a", json!({ "secret": [{ "a": [1] }] }))], None),
            (vec![set(&"secret".repeat(251), json!({}))], Some("its id is longer")),
            (vec![set("a", nested)], Some("nested more than 20")),
            (vec![set("a", json!({ "secret": vec![1; 20_001] }))], Some("index entries")),
            (
                (0..11).map(|n| set(&n.to_string(), json!({ "secret": "x".repeat(1_000_000) }))).collect(),
                Some("a commit has at most"),
            ),
        ] {
            let found = violation(&writes);
            let is_as_expected = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected) && !found.contains("secret"),
                (None, None) => true,
                _ => false,
            };
            assert!(is_as_expected, "{found:?}, expected {expected:?}");
        }
    }
}
