//! The contract of every [`Store`]: [`store_contract!`](crate::store_contract) makes one test of each promise.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Change, CommitError, Fields, Precondition, Query, Store, Stored, TTL_FIELD, Version, Write};
use crate::Path;

/// One `#[tokio::test]` for each promise of a [`Store`]. The expression makes an empty store. The crate that
/// calls it must depend on tokio with the features `macros` and `rt`.
///
/// ```
/// # fn main() {}
/// mod contract {
///     pushbox::store_contract!(pushbox::store::Memory::default());
/// }
/// ```
#[macro_export]
macro_rules! store_contract {
    ($make:expr) => {
        $crate::store_contract! { $make;
            an_empty_store_has_no_document,
            a_document_is_created_once,
            a_precondition_names_a_version,
            set_replaces_the_whole_document,
            a_commit_applies_all_writes_or_none,
            a_commit_returns_the_versions_that_reads_return,
            add_sets_fields_and_adds_amounts,
            concurrent_additions_all_count,
            delete_removes_a_document,
            verify_requires_a_version,
            verify_requires_absence,
            a_list_is_ordered_by_id,
            a_list_is_filtered_by_fields,
            a_list_covers_one_collection,
            json_is_stored_unchanged,
            the_expiry_time_is_stored_unchanged,
            one_of_many_creators_wins,
            no_increment_is_lost,
            a_commit_may_be_large,
            documents_beyond_the_limits_are_refused,
            age_is_the_time_since_the_last_change,
        }
    };
    ($make:expr; $($promise:ident,)*) => {$(
        #[tokio::test]
        async fn $promise() {
            $crate::store::contract::$promise(&$make).await;
        }
    )*};
}

fn at(id: &str) -> Path {
    Path::new("a-service", "things", id)
}

fn fields(value: Value) -> Fields {
    let Value::Object(fields) = value else { panic!("not an object: {value}") };
    fields
}

fn write(id: &str, change: Change, only_if: Precondition) -> Write {
    Write { path: at(id), change, only_if }
}

fn set(id: &str, value: Value, only_if: Precondition) -> Write {
    write(id, Change::Set(fields(value)), only_if)
}

fn add(id: &str, set: Value, amounts: &[(&str, i64)]) -> Write {
    let amounts: BTreeMap<String, i64> =
        amounts.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect();
    write(id, Change::Add { fields: fields(set), amounts }, Precondition::None)
}

/// A commit that must succeed.
async fn commit(store: &dyn Store, writes: &[Write]) -> Vec<Version> {
    let versions = store.commit(writes).await.expect("a commit");
    assert_eq!(versions.len(), writes.len());
    versions
}

async fn conflicts(store: &dyn Store, writes: &[Write]) {
    let refused = store.commit(writes).await;
    assert!(matches!(refused, Err(CommitError::Conflict)), "{writes:?} gave {refused:?}");
}

async fn found(store: &dyn Store, id: &str) -> Option<Stored> {
    store.get(&at(id)).await.expect("an answer")
}

async fn version(store: &dyn Store, id: &str) -> Version {
    found(store, id).await.expect("a document").version
}

async fn holds(store: &dyn Store, id: &str, expected: Value) {
    let fields = found(store, id).await.map(|stored| Value::Object(stored.fields));
    assert_eq!(fields.unwrap_or_default(), expected, "{id}");
}

async fn ids(store: &dyn Store, query: Query) -> Vec<String> {
    let collection = "services/a-service/things".to_owned();
    let limit = if query.limit == 0 { 1000 } else { query.limit };
    let found = store.list(&Query { collection, limit, ..query }).await.expect("a list");
    found.into_iter().map(|stored| stored.id).collect()
}

#[doc(hidden)]
pub async fn an_empty_store_has_no_document(store: &dyn Store) {
    assert!(found(store, "a").await.is_none());
    assert_eq!(ids(store, Query::default()).await, [""; 0]);
}

#[doc(hidden)]
pub async fn a_document_is_created_once(store: &dyn Store) {
    commit(store, &[set("a", json!({ "n": 1 }), Precondition::Absent)]).await;
    conflicts(store, &[set("a", json!({ "n": 2 }), Precondition::Absent)]).await;
    holds(store, "a", json!({ "n": 1 })).await;
    commit(store, &[write("a", Change::Delete, Precondition::None)]).await;
    commit(store, &[set("a", json!({ "n": 3 }), Precondition::Absent)]).await;
    holds(store, "a", json!({ "n": 3 })).await;
}

#[doc(hidden)]
pub async fn a_precondition_names_a_version(store: &dyn Store) {
    let first = commit(store, &[set("a", json!({ "n": 1 }), Precondition::Absent)]).await[0];
    let second = commit(store, &[set("a", json!({ "n": 2 }), Precondition::At(first))]).await[0];
    assert_ne!(first, second);
    conflicts(store, &[set("a", json!({ "n": 3 }), Precondition::At(first))]).await;
    holds(store, "a", json!({ "n": 2 })).await;
    // The version of another document, or of a deleted one, does not match.
    conflicts(store, &[set("b", json!({ "n": 3 }), Precondition::At(second))]).await;
    commit(store, &[write("a", Change::Delete, Precondition::At(second))]).await;
    conflicts(store, &[set("a", json!({ "n": 3 }), Precondition::At(second))]).await;
    assert!(found(store, "a").await.is_none());
}

#[doc(hidden)]
pub async fn set_replaces_the_whole_document(store: &dyn Store) {
    commit(store, &[set("a", json!({ "n": 1, "old": { "x": 1 } }), Precondition::None)]).await;
    commit(store, &[set("a", json!({ "n": 2 }), Precondition::None)]).await;
    holds(store, "a", json!({ "n": 2 })).await;
}

#[doc(hidden)]
pub async fn a_commit_applies_all_writes_or_none(store: &dyn Store) {
    let before = commit(
        store,
        &[
            set("taken", json!({ "n": 1 }), Precondition::Absent),
            set("kept", json!({ "n": 1 }), Precondition::Absent),
        ],
    )
    .await;
    for refused in [
        set("taken", json!({ "n": 2 }), Precondition::Absent),
        set("absent", json!({ "n": 2 }), Precondition::At(before[0])),
    ] {
        let others = [
            set("new", json!({ "n": 2 }), Precondition::Absent),
            add("sum", json!({}), &[("n", 1)]),
            write("kept", Change::Delete, Precondition::None),
        ];
        for place in 0..=others.len() {
            let mut writes = others.to_vec();
            writes.insert(place, refused.clone());
            conflicts(store, &writes).await;
        }
    }
    assert_eq!(ids(store, Query::default()).await, ["kept", "taken"]);
    assert_eq!([version(store, "taken").await, version(store, "kept").await], before[..]);
}

#[doc(hidden)]
pub async fn a_commit_returns_the_versions_that_reads_return(store: &dyn Store) {
    let versions = commit(
        store,
        &[
            set("a", json!({ "n": 1 }), Precondition::Absent),
            add("b", json!({ "x": "y" }), &[("n", 1)]),
            set("c", json!({ "n": 1 }), Precondition::None),
        ],
    )
    .await;
    for (id, version) in ["a", "b", "c"].into_iter().zip(versions) {
        assert_eq!(found(store, id).await.expect(id).version, version, "{id}");
    }
    let versions = commit(
        store,
        &[
            write("a", Change::Verify, Precondition::At(version(store, "a").await)),
            write("x", Change::Verify, Precondition::Absent),
            write("c", Change::Delete, Precondition::None),
            set("d", json!({ "n": 1 }), Precondition::Absent),
            add("b", json!({}), &[("n", 1)]),
        ],
    )
    .await;
    for (id, place) in [("a", 0), ("d", 3), ("b", 4)] {
        assert_eq!(version(store, id).await, versions[place], "{id}");
    }
    // A write that changes nothing may or may not make a new version. The commit returns the version that
    // a read returns.
    let same = commit(store, &[set("d", json!({ "n": 1 }), Precondition::None)]).await[0];
    assert_eq!(version(store, "d").await, same);
    commit(store, &[set("d", json!({ "n": 2 }), Precondition::At(same))]).await;
}

#[doc(hidden)]
pub async fn add_sets_fields_and_adds_amounts(store: &dyn Store) {
    commit(store, &[add("a", json!({ "day": "monday", "m": { "x": 1 } }), &[("n", 2), ("zero", 0)])]).await;
    holds(store, "a", json!({ "day": "monday", "m": { "x": 1 }, "n": 2, "zero": 0 })).await;
    commit(store, &[set("a", json!({ "day": "monday", "n": 2, "kept": true }), Precondition::None)]).await;
    let before = version(store, "a").await;
    commit(store, &[add("a", json!({ "day": "tuesday" }), &[("n", -5), ("other", 1)])]).await;
    holds(store, "a", json!({ "day": "tuesday", "n": -3, "kept": true, "other": 1 })).await;
    assert_ne!(version(store, "a").await, before);
    // These names have a meaning in a field path.
    commit(store, &[add("b", json!({ "a.b": 1, "c-d": 2, "e`f\\g": 3 }), &[("h.i", 4), ("j`k", 5)])]).await;
    commit(store, &[add("b", json!({ "a.b": 2 }), &[("h.i", 4), ("j`k", 5)])]).await;
    holds(store, "b", json!({ "a.b": 2, "c-d": 2, "e`f\\g": 3, "h.i": 8, "j`k": 10 })).await;
    // `fields` replaces a map and does not merge it.
    commit(store, &[add("c", json!({ "m": { "x": 1 } }), &[]), add("d", json!({}), &[("n", 1)])]).await;
    commit(store, &[add("c", json!({ "m": { "y": 2 } }), &[])]).await;
    holds(store, "c", json!({ "m": { "y": 2 } })).await;
    holds(store, "d", json!({ "n": 1 })).await;
}

#[doc(hidden)]
pub async fn concurrent_additions_all_count(store: &dyn Store) {
    let one = [add("a", json!({}), &[("n", 3)])];
    join_all((0..24).map(|_| commit(store, &one))).await;
    holds(store, "a", json!({ "n": 72 })).await;
}

#[doc(hidden)]
pub async fn delete_removes_a_document(store: &dyn Store) {
    commit(store, &[write("a", Change::Delete, Precondition::None)]).await;
    let old = commit(store, &[set("a", json!({ "n": 1 }), Precondition::Absent)]).await[0];
    commit(store, &[set("a", json!({ "n": 2 }), Precondition::None)]).await;
    conflicts(store, &[write("a", Change::Delete, Precondition::At(old))]).await;
    conflicts(store, &[write("a", Change::Delete, Precondition::Absent)]).await;
    holds(store, "a", json!({ "n": 2 })).await;
    commit(store, &[write("a", Change::Delete, Precondition::At(version(store, "a").await))]).await;
    assert!(found(store, "a").await.is_none());
    commit(store, &[write("a", Change::Delete, Precondition::Absent)]).await;
}

#[doc(hidden)]
pub async fn verify_requires_a_version(store: &dyn Store) {
    let read = commit(store, &[set("a", json!({ "n": 1, "m": { "x": [] } }), Precondition::Absent)]).await[0];
    let verify = write("a", Change::Verify, Precondition::At(read));
    let versions = commit(store, &[set("b", json!({ "n": 1 }), Precondition::Absent), verify.clone()]).await;
    assert_eq!(versions[1], read);
    holds(store, "a", json!({ "n": 1, "m": { "x": [] } })).await;
    assert_eq!(version(store, "a").await, read);

    commit(store, &[set("a", json!({ "n": 2 }), Precondition::At(read))]).await;
    conflicts(store, &[set("c", json!({ "n": 1 }), Precondition::Absent), verify.clone()]).await;
    commit(store, &[write("a", Change::Delete, Precondition::None)]).await;
    conflicts(store, &[set("c", json!({ "n": 1 }), Precondition::Absent), verify]).await;
    assert_eq!(ids(store, Query::default()).await, ["b"]);
}

#[doc(hidden)]
pub async fn verify_requires_absence(store: &dyn Store) {
    let verify = write("a", Change::Verify, Precondition::Absent);
    commit(store, &[set("b", json!({ "n": 1 }), Precondition::Absent), verify.clone()]).await;
    assert!(found(store, "a").await.is_none());
    let there = commit(store, &[set("a", json!({ "n": 1 }), Precondition::Absent)]).await[0];
    conflicts(store, &[set("c", json!({ "n": 1 }), Precondition::Absent), verify]).await;
    assert_eq!(ids(store, Query::default()).await, ["a", "b"]);
    assert_eq!(version(store, "a").await, there);
}

#[doc(hidden)]
pub async fn a_list_is_ordered_by_id(store: &dyn Store) {
    let sorted = ["%2E", "-", "1", "10", "2", "A", "Z", "a", "a b", "ab", "z", "ä", "日"];
    for id in sorted.iter().rev() {
        commit(store, &[set(id, json!({ "id": id }), Precondition::Absent)]).await;
    }
    // The ids as they are stored.
    let sorted = sorted.map(|id| at(id).id().to_owned());
    assert_eq!(ids(store, Query::default()).await, sorted);
    assert_eq!(ids(store, Query { limit: 3, ..Query::default() }).await, sorted[..3]);
    for (place, id) in sorted.iter().enumerate() {
        let after = Query { after: Some(id.clone()), limit: 2, ..Query::default() };
        let end = sorted.len().min(place + 3);
        assert_eq!(ids(store, after).await, sorted[place + 1..end], "after {id}");
    }
    let between = Query { after: Some("2x".to_owned()), limit: 1, ..Query::default() };
    assert_eq!(ids(store, between).await, ["A"]);
    let from_the_start = Query { after: Some(String::new()), limit: 2, ..Query::default() };
    assert_eq!(ids(store, from_the_start).await, sorted[..2]);

    let query = Query { collection: at("").collection().to_owned(), limit: 1, ..Query::default() };
    let listed = store.list(&query).await.expect("a list").remove(0);
    let read = store.get(&at("%2E")).await.expect("an answer").expect("a document");
    assert_eq!((listed.version, listed.fields), (read.version, read.fields));
}

#[doc(hidden)]
pub async fn a_list_is_filtered_by_fields(store: &dyn Store) {
    for (id, document) in [
        ("a", json!({ "pending": true, "n": 1, "text": "x", "f": 1.5 })),
        ("b", json!({ "pending": false, "n": 1, "text": "x" })),
        ("c", json!({ "n": 2, "text": "true" })),
        ("d", json!({ "pending": true, "n": 2, "text": "" })),
        ("e", json!({ "pending": "true", "n": 1, "odd-name": 1 })),
    ] {
        commit(store, &[set(id, document, Precondition::Absent)]).await;
    }
    for (filters, expected) in [
        (vec![("pending", json!(true))], &["a", "d"][..]),
        (vec![("pending", json!("true"))], &["e"]),
        (vec![("n", json!(1)), ("text", json!("x"))], &["a", "b"]),
        (vec![("text", json!(""))], &["d"]),
        (vec![("f", json!(1.5))], &["a"]),
        (vec![("odd-name", json!(1))], &["e"]),
        (vec![("nowhere", json!(1))], &[]),
        (vec![("n", json!(3))], &[]),
    ] {
        let query = Query { filters: filters.clone(), ..Query::default() };
        assert_eq!(ids(store, query).await, expected, "{filters:?}");
    }
    let query = Query {
        filters: vec![("pending", json!(true))],
        after: Some("a".to_owned()),
        limit: 1,
        ..Query::default()
    };
    assert_eq!(ids(store, query).await, ["d"]);
}

#[doc(hidden)]
pub async fn a_list_covers_one_collection(store: &dyn Store) {
    let paths = [("a-service", "things"), ("a-service", "thing"), ("b-service", "things"), ("a", "things")];
    for (service, collection) in paths {
        let path = Path::new(service, collection, "x");
        let change = Change::Set(fields(json!({ "from": [service, collection] })));
        commit(store, &[Write { path, change, only_if: Precondition::Absent }]).await;
    }
    for (service, collection) in paths {
        let path = Path::new(service, collection, "x");
        let query = Query { collection: path.collection().to_owned(), limit: 9, ..Query::default() };
        let listed = store.list(&query).await.expect("a list");
        let listed: Vec<_> = listed.into_iter().map(|stored| Value::Object(stored.fields)).collect();
        assert_eq!(listed, [json!({ "from": [service, collection] })]);
    }
}

#[doc(hidden)]
pub async fn json_is_stored_unchanged(store: &dyn Store) {
    let long = "ü".repeat(20_000);
    for (id, document) in [
        ("empty", json!({})),
        (
            "numbers",
            json!({ "zero": 0, "minus": -1, "max": i64::MAX, "min": i64::MIN, "float": 1.5,
            "small": 1e-300, "whole": 2.0, "third": 1.0 / 3.0, "negative": -0.25 }),
        ),
        (
            "texts",
            json!({ "empty": "", "unicode": "Zoë 日本 👩‍🚀 \u{0} \u{7f} \" \\ \n", "long": long,
            "like a time": "2026-11-20T12:00:00Z", "like a number": "1" }),
        ),
        (
            "nested",
            json!({ "a": { "b": { "c": { "d": [] } } }, "empty": {}, "list": [1, "two", { "three": [3] }, true],
            "list of empty": [{}, {}] }),
        ),
        ("names", json!({ "with space": 1, "a.b": 1, "`": 1, "\\": 1, "ünï": 1, "0": 1, "_x": 1 })),
        ("nulls", json!({ "null": null, "in list": [null, 1, null], "in map": { "x": null } })),
        ("booleans", json!({ "yes": true, "no": false })),
        ("own names", json!({ "id": "other", "name": "x", "_firestore_id": "mine" })),
    ] {
        commit(store, &[set(id, document.clone(), Precondition::Absent)]).await;
        holds(store, id, document).await;
    }
}

#[doc(hidden)]
pub async fn the_expiry_time_is_stored_unchanged(store: &dyn Store) {
    for (id, time) in [("a", "2027-01-02T03:04:05Z"), ("b", "2027-01-02T03:04:05.123456Z")] {
        let document = json!({ TTL_FIELD: time, "other": time, "in": { TTL_FIELD: time } });
        commit(store, &[set(id, document.clone(), Precondition::Absent)]).await;
        holds(store, id, document).await;
        commit(store, &[add(id, json!({ TTL_FIELD: "2028-01-02T03:04:05Z" }), &[])]).await;
        let stored = found(store, id).await.expect("a document");
        assert_eq!(stored.fields[TTL_FIELD], "2028-01-02T03:04:05Z");
    }
}

#[doc(hidden)]
pub async fn one_of_many_creators_wins(store: &dyn Store) {
    for round in 0..3 {
        let commits = (0..64).map(|n| async move {
            let writes = [
                set(&format!("taken-{round}"), json!({ "by": n }), Precondition::Absent),
                add("sum", json!({}), &[("n", 1)]),
                set(&format!("side-{round}-{n}"), json!({}), Precondition::None),
            ];
            store.commit(&writes).await
        });
        let done = join_all(commits).await;
        let winners: Vec<usize> = (0..64).filter(|n| done[*n].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let losers = done.iter().filter(|done| matches!(done, Err(CommitError::Conflict))).count();
        assert_eq!(losers, 63);
        holds(store, &format!("taken-{round}"), json!({ "by": winners[0] })).await;
        holds(store, "sum", json!({ "n": round + 1 })).await;
    }
    let listed = ids(store, Query::default()).await;
    assert_eq!(listed.iter().filter(|id| id.starts_with("side-")).count(), 3);
}

#[doc(hidden)]
pub async fn no_increment_is_lost(store: &dyn Store) {
    commit(store, &[set("a", json!({ "n": 0 }), Precondition::Absent)]).await;
    join_all((0..8).map(|_| async {
        for _ in 0..3 {
            loop {
                let read = found(store, "a").await.expect("a document");
                let next = json!({ "n": read.fields["n"].as_i64().expect("a number") + 1 });
                match store.commit(&[set("a", next, Precondition::At(read.version))]).await {
                    Ok(_) => break,
                    Err(CommitError::Conflict) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }))
    .await;
    holds(store, "a", json!({ "n": 24 })).await;
}

#[doc(hidden)]
pub async fn a_commit_may_be_large(store: &dyn Store) {
    let text = "x".repeat(900_000);
    commit(store, &[set("large", json!({ "text": text }), Precondition::Absent)]).await;
    holds(store, "large", json!({ "text": text })).await;
    let many: Vec<Write> =
        (0..300).map(|n| set(&format!("many-{n:03}"), json!({ "n": n }), Precondition::Absent)).collect();
    commit(store, &many).await;
    assert_eq!(ids(store, Query::default()).await.len(), 301);
}

#[doc(hidden)]
pub async fn documents_beyond_the_limits_are_refused(store: &dyn Store) {
    for refused in [
        set("a", json!({ "text": "x".repeat(1 << 20) }), Precondition::None),
        set("a", json!({ "n": u64::MAX }), Precondition::None),
        set("a", json!({ "list": [[1]] }), Precondition::None),
        set(&"a".repeat(1501), json!({}), Precondition::None),
    ] {
        let done = store.commit(&[set("b", json!({}), Precondition::None), refused.clone()]).await;
        let Err(CommitError::Refused(reason)) = done else { panic!("{refused:.100?} gave {done:?}") };
        assert!(!reason.contains("xxx") && !reason.contains("aaa"), "{reason}");
    }
    assert!(found(store, "b").await.is_none());
}

#[doc(hidden)]
pub async fn age_is_the_time_since_the_last_change(store: &dyn Store) {
    commit(store, &[set("a", json!({ "n": 1 }), Precondition::None)]).await;
    let first = found(store, "a").await.expect("a document");
    let mut later = first.clone();
    while later.age <= first.age {
        later = found(store, "a").await.expect("a document");
    }
    assert_eq!(later.version, first.version);
    let query = Query { collection: at("a").collection().to_owned(), limit: 1, ..Query::default() };
    assert!(store.list(&query).await.expect("a list")[0].age >= later.age);
}
