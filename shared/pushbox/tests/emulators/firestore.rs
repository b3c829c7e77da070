//! The store contract on Firestore, and tests of Firestore alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use pushbox::{
    Context, Path, Timing,
    store::{Change, CommitError, Fields, Firestore, Precondition, Query, Store, TTL_FIELD, Write},
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    emulator, fresh_project,
    proxy::Proxy,
    silent_listener,
    suite::{Placed, Pushed, World, service},
    unused_address,
};

const HOST: &str = "FIRESTORE_EMULATOR_HOST";

fn fields(value: Value) -> Fields {
    let Value::Object(fields) = value else { panic!("not an object: {value}") };
    fields
}

fn set(id: &str, value: Value, only_if: Precondition) -> Write {
    Write { path: Path::new("a-service", "things", id), change: Change::Set(fields(value)), only_if }
}

pub fn fresh() -> Firestore {
    emulator(HOST);
    Firestore::new(&fresh_project(), "(default)")
}

mod contract {
    pushbox::store_contract!(super::fresh());
}

#[tokio::test]
async fn only_the_expiry_field_is_a_native_timestamp() {
    let (host, project) = (emulator(HOST), fresh_project());
    let store = Firestore::new(&project, "(default)");
    let time = "2027-01-02T03:04:05.123456Z";
    let document = json!({ TTL_FIELD: time, "createdAt": time, "n": 7, "float": 7.0, "no": null });
    store.commit(&[set("a", document, Precondition::Absent)]).await.expect("a commit");
    let url = format!(
        "http://{host}/v1/projects/{project}/databases/(default)/documents/services/a-service/things/a"
    );
    let raw = reqwest::Client::new().get(url).bearer_auth("owner").send().await.expect("an answer");
    let raw: Value = raw.json().await.expect("JSON");
    let expected = json!({
        TTL_FIELD: { "timestampValue": time },
        "createdAt": { "stringValue": time },
        "n": { "integerValue": "7" },
        "float": { "doubleValue": 7.0 },
        "no": { "nullValue": null },
    });
    assert_eq!(raw["fields"], expected, "{raw}");
}

#[tokio::test]
async fn refuses_documents_that_can_never_be_stored() {
    let store = fresh();
    for document in [
        json!({ "text": "x".repeat(1_100_000) }),
        json!({ "lists": [[1], [2]] }),
        json!({ TTL_FIELD: "tomorrow" }),
        json!({ "too large": u64::MAX }),
    ] {
        let refused = store.commit(&[set("a", document, Precondition::Absent)]).await;
        assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    }
    let path = Path::new("a-service", "things", "a");
    assert!(store.get(&path).await.expect("an answer").is_none());
}

/// Checks that every call fails within its deadline, a commit with an unknown outcome.
async fn assert_fails_in_time(store: &Firestore) {
    let began = Instant::now();
    let path = Path::new("a-service", "things", "a");
    let query = Query { collection: path.collection().to_owned(), limit: 1, ..Query::default() };
    let write =
        Write { path: path.clone(), change: Change::Set(fields(json!({}))), only_if: Precondition::None };
    let writes = [write];
    let (got, committed, listed) = tokio::join!(store.get(&path), store.commit(&writes), store.list(&query));
    assert!(got.is_err() && listed.is_err());
    assert!(matches!(committed, Err(CommitError::Unknown(_))), "{committed:?}");
    assert!(began.elapsed() < Timing::DEFAULT.store + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn calls_fail_in_time_if_no_server_listens() {
    emulator(HOST);
    assert_fails_in_time(&Firestore::new("p", "(default)").through(&format!("http://{}", unused_address())))
        .await;
}

#[tokio::test]
async fn calls_fail_in_time_if_the_server_never_answers() {
    emulator(HOST);
    let (_listener, address) = silent_listener();
    assert_fails_in_time(&Firestore::new("p", "(default)").through(&format!("http://{address}"))).await;
}

#[tokio::test]
async fn calls_fail_in_time_if_the_server_stops_answering() {
    let proxy = Proxy::to(&emulator(HOST)).await;
    let store = fresh().through(&proxy.url);
    store.commit(&[set("a", json!({}), Precondition::Absent)]).await.expect("a commit");
    proxy.hang();
    assert_fails_in_time(&store).await;
}

/// A server that answers each call with this gRPC status.
async fn answering(status: Code) -> Firestore {
    let headers = [
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", (status as i32).to_string()),
        ("grpc-message", "documents/ann@example.com".to_owned()),
    ];
    let app = Router::new().fallback(move || async move { headers });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Firestore::new("p", "(default)").through(&url)
}

#[tokio::test]
async fn a_status_says_whether_a_commit_was_applied_and_whether_it_may_succeed_later() {
    emulator(HOST);
    for (status, expected) in [
        (Code::AlreadyExists, "conflict"),
        (Code::FailedPrecondition, "conflict"),
        (Code::Aborted, "conflict"),
        // Also the answer of a missing database. Then the read that follows a conflict fails.
        (Code::NotFound, "conflict"),
        (Code::InvalidArgument, "refused"),
        (Code::OutOfRange, "refused"),
        // A grant may be missing for a while, so these are retried.
        (Code::PermissionDenied, "failed"),
        (Code::Unauthenticated, "failed"),
        (Code::ResourceExhausted, "failed"),
        (Code::Cancelled, "unknown"),
        (Code::DeadlineExceeded, "unknown"),
        (Code::Internal, "unknown"),
        (Code::Unavailable, "unknown"),
        (Code::Unknown, "unknown"),
    ] {
        let store = answering(status).await;
        let found = match store.commit(&[set("a", json!({}), Precondition::Absent)]).await {
            Ok(_) => "committed",
            Err(CommitError::Conflict) => "conflict",
            Err(CommitError::Refused(_)) => "refused",
            Err(CommitError::Failed(_)) => "failed",
            Err(CommitError::Unknown(_)) => "unknown",
        };
        assert_eq!(found, expected, "{status:?}");
        // No status means that a document is absent.
        let error = store.get(&Path::new("a-service", "things", "a")).await.expect_err("no document");
        // Firestore repeats what is invalid.
        assert!(status != Code::InvalidArgument || !error.0.contains("ann@"), "{error}");
    }
}

/// The answer of a missing database is NOT_FOUND, and a grant may be missing for a while.
#[tokio::test]
async fn a_push_is_retried_while_the_database_or_a_grant_is_missing() {
    emulator(HOST);
    for status in [Code::NotFound, Code::PermissionDenied, Code::Unauthenticated] {
        let world = World::on(Arc::new(answering(status).await));
        let running = world.run(service().on(|_: Placed, _: Context| async { Ok(()) }));
        assert_eq!(running.push(&Pushed::order("a")).await, 503, "{status:?}");
        assert_eq!(world.published.len(), 0, "no dead letter: {status:?}");
    }
}

#[tokio::test]
async fn connects_after_the_server_has_started() {
    let address = unused_address();
    let proxy = Proxy::to(&emulator(HOST)).await;
    let store = fresh().through(&format!("http://{address}"));
    let path = Path::new("a-service", "things", "a");
    assert!(store.get(&path).await.is_err());
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the port");
    let target = proxy.url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.expect("a connection");
            let mut to = tokio::net::TcpStream::connect(&target).await.expect("the proxy");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    assert!(store.get(&path).await.expect("an answer").is_none());
}
