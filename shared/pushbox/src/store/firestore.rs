//! Firestore in native mode, or its emulator.
//!
//! Calls use the generated client, because the adapter needs exact status codes and a commit without a
//! transaction. The `firestore` crate supplies the connection and the credentials.

mod value;

use std::time::Duration;

use ::firestore::{FirestoreDb, FirestoreDbOptions};
use async_trait::async_trait;
use gcloud_sdk::{
    google::firestore::v1::{
        BatchGetDocumentsRequest, CommitRequest, Cursor, Document, DocumentMask, Precondition as Condition,
        RunQueryRequest, StructuredQuery, Value as FirestoreValue, Write as FirestoreWrite,
        batch_get_documents_response,
        document_transform::{FieldTransform, field_transform::TransformType},
        precondition::ConditionType,
        run_query_request::QueryType,
        structured_query::{
            self, CollectionSelector, CompositeFilter, FieldFilter, FieldReference, Filter, composite_filter,
            field_filter, filter::FilterType,
        },
        value::ValueType,
        write::Operation,
    },
    prost_types::Timestamp as ProtoTimestamp,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::OnceCell;
use tonic::{Code, Status};

use self::value::{to_document, to_fields, to_value};
use super::{Change, CommitError, Precondition, Query, Store, StoreError, Stored, Version, Write, limits};
use crate::{Path, Timing};

/// Firestore. It connects at its first use, and honours `FIRESTORE_EMULATOR_HOST`.
pub struct Firestore {
    options: FirestoreDbOptions,
    deadline: Duration,
    db: OnceCell<FirestoreDb>,
}

impl Firestore {
    /// The database `database` (usually `(default)`) of `project`.
    #[must_use]
    pub fn new(project: &str, database: &str) -> Self {
        let options = FirestoreDbOptions::new(project.to_owned()).with_database_id(database.to_owned());
        Self { options, deadline: Timing::DEFAULT.store, db: OnceCell::new() }
    }

    /// The same database, reached through another address, such as `http://localhost:8090`.
    #[must_use]
    pub fn through(mut self, url: &str) -> Self {
        self.options = self.options.with_firebase_api_url(url.to_owned());
        self
    }

    /// Ends each call after this time. It is [`Timing::store`] by default.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn db(&self) -> Result<&FirestoreDb, Status> {
        let connect = || FirestoreDb::with_options(self.options.clone());
        self.db.get_or_try_init(connect).await.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Runs `call` with the deadline, which includes the time to connect. A dropped call is cancelled at the
    /// server, too.
    async fn call<T>(&self, call: impl AsyncFnOnce(&FirestoreDb) -> Result<T, Status>) -> Result<T, Status> {
        let call = async { call(self.db().await?).await };
        let late = || Status::deadline_exceeded("no answer in time");
        tokio::time::timeout(self.deadline, call).await.unwrap_or_else(|_| Err(late()))
    }
}

#[async_trait]
impl Store for Firestore {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        // `GetDocument` also answers NOT_FOUND for a missing database. Then every document would seem to be
        // absent.
        let get = async |db: &FirestoreDb| {
            let (database, documents) = (db.get_database_path().clone(), vec![name(db, path)]);
            let request = BatchGetDocumentsRequest { database, documents, ..Default::default() };
            let mut answers = db.client().get().batch_get_documents(request).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                let Some(result) = answer.result else { continue };
                return Ok(match result {
                    batch_get_documents_response::Result::Found(document) => {
                        Some((document, answer.read_time))
                    }
                    batch_get_documents_response::Result::Missing(_) => None,
                });
            }
            Err(Status::unavailable("the answer is incomplete"))
        };
        let found = self.call(get).await.map_err(|status| failed(&status))?;
        found.map(|(document, read_time)| stored(&document, read_time)).transpose()
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Version>, CommitError> {
        let done = self
            .call(async |db| {
                let writes = writes.iter().map(|write| to_write(db, write)).collect::<Result<_, _>>()?;
                let database = db.get_database_path().clone();
                db.client().get().commit(CommitRequest { database, writes, ..Default::default() }).await
            })
            .await;
        match done {
            Ok(response) => {
                let response = response.into_inner();
                // A write that changes nothing has no update time.
                let commit_time = response.commit_time.unwrap_or_default();
                let versions = response
                    .write_results
                    .iter()
                    .map(|result| version(result.update_time.unwrap_or(commit_time)));
                versions.collect::<Result<_, _>>().map_err(CommitError::Unknown)
            }
            Err(status) => Err(match status.code() {
                // A missing database is NOT_FOUND, too. Then the read that follows a conflict fails.
                Code::AlreadyExists | Code::NotFound | Code::FailedPrecondition | Code::Aborted => {
                    CommitError::Conflict
                }
                Code::InvalidArgument | Code::OutOfRange => CommitError::Refused(
                    limits::violation(writes).unwrap_or_else(|| format!("{:?}", status.code())),
                ),
                Code::PermissionDenied | Code::Unauthenticated | Code::ResourceExhausted => {
                    CommitError::Failed(failed(&status))
                }
                _ => CommitError::Unknown(failed(&status)),
            }),
        }
    }

    async fn list(&self, query: &Query) -> Result<Vec<Stored>, StoreError> {
        let list = async |db: &FirestoreDb| {
            let mut client = db.client().get();
            let mut answers = client.run_query(to_query(db, query)?).await?.into_inner();
            let mut found = Vec::new();
            while let Some(answer) = answers.message().await? {
                let read_time = answer.read_time;
                found.extend(answer.document.map(|document| (document, read_time)));
            }
            Ok(found)
        };
        let found = self.call(list).await.map_err(|status| failed(&status))?;
        found.iter().map(|(document, read_time)| stored(document, *read_time)).collect()
    }
}

fn failed(status: &Status) -> StoreError {
    match status.code() {
        // The message contains the document's path or a value.
        Code::InvalidArgument => StoreError("InvalidArgument".to_owned()),
        code => StoreError(format!("{code:?}: {}", status.message())),
    }
}

fn name(db: &FirestoreDb, path: &Path) -> String {
    [db.get_documents_path(), "/", path.as_str()].concat()
}

fn version(time: ProtoTimestamp) -> Result<Version, StoreError> {
    timestamp(time).map(Version)
}

fn timestamp(time: ProtoTimestamp) -> Result<Timestamp, StoreError> {
    Timestamp::new(time.seconds, time.nanos).map_err(|error| StoreError(error.to_string()))
}

fn to_write(db: &FirestoreDb, write: &Write) -> Result<FirestoreWrite, Status> {
    let name = name(db, &write.path);
    let condition = match write.only_if {
        Precondition::None => None,
        Precondition::Absent => Some(ConditionType::Exists(false)),
        Precondition::At(Version(time)) => Some(ConditionType::UpdateTime(ProtoTimestamp {
            seconds: time.as_second(),
            nanos: time.subsec_nanosecond(),
        })),
    };
    let mut result = FirestoreWrite {
        current_document: condition.map(|condition| Condition { condition_type: Some(condition) }),
        ..Default::default()
    };
    let operation = match &write.change {
        Change::Set(fields) => Operation::Update(to_document(name, fields)?),
        Change::Add { fields, amounts } => {
            result.update_mask =
                Some(DocumentMask { field_paths: fields.keys().map(|field| quoted(field)).collect() });
            result.update_transforms = amounts
                .iter()
                .map(|(field, amount)| FieldTransform {
                    field_path: quoted(field),
                    transform_type: Some(TransformType::Increment(FirestoreValue {
                        value_type: Some(ValueType::IntegerValue(*amount)),
                    })),
                })
                .collect();
            Operation::Update(to_document(name, fields)?)
        }
        Change::Delete => Operation::Delete(name),
        // The public API has no such operation. The deletion of a document that must be absent, and an update
        // of no field of a document that must be unchanged, check the precondition and change nothing.
        Change::Verify if write.only_if == Precondition::Absent => Operation::Delete(name),
        Change::Verify => {
            result.update_mask = Some(DocumentMask::default());
            Operation::Update(Document { name, ..Default::default() })
        }
    };
    result.operation = Some(operation);
    Ok(result)
}

/// <https://firebase.google.com/docs/firestore/reference/rpc/google.firestore.v1#documentmask>
fn quoted(field: &str) -> String {
    format!("`{}`", field.replace('\\', "\\\\").replace('`', "\\`"))
}

fn to_query(db: &FirestoreDb, query: &Query) -> Result<RunQueryRequest, Status> {
    let (parent, collection) = query.collection.rsplit_once('/').unwrap_or(("", &query.collection));
    let documents = db.get_documents_path();
    let field = |name: &str| Some(FieldReference { field_path: name.to_owned() });
    let equals = |(name, value): &(&str, Value)| {
        Ok(Filter {
            filter_type: Some(FilterType::FieldFilter(FieldFilter {
                field: field(&quoted(name)),
                op: field_filter::Operator::Equal.into(),
                value: Some(to_value(value)?),
            })),
        })
    };
    let filters = query.filters.iter().map(equals).collect::<Result<Vec<_>, Status>>()?;
    let filter = CompositeFilter { op: composite_filter::Operator::And.into(), filters };
    // Firestore refuses an empty id in a cursor.
    let after = query.after.as_ref().filter(|id| !id.is_empty()).map(|id| Cursor {
        values: vec![FirestoreValue {
            value_type: Some(ValueType::ReferenceValue(format!("{documents}/{}/{id}", query.collection))),
        }],
        before: false,
    });
    let structured = StructuredQuery {
        from: vec![CollectionSelector { collection_id: collection.to_owned(), all_descendants: false }],
        r#where: (!filter.filters.is_empty())
            .then_some(Filter { filter_type: Some(FilterType::CompositeFilter(filter)) }),
        order_by: vec![structured_query::Order {
            field: field("__name__"),
            direction: structured_query::Direction::Ascending.into(),
        }],
        start_at: after,
        limit: i32::try_from(query.limit).ok(),
        ..Default::default()
    };
    Ok(RunQueryRequest {
        parent: format!("{documents}/{parent}"),
        query_type: Some(QueryType::StructuredQuery(structured)),
        ..Default::default()
    })
}

fn stored(document: &Document, read_time: Option<ProtoTimestamp>) -> Result<Stored, StoreError> {
    let id = document.name.rsplit('/').next().unwrap_or_default().to_owned();
    let version = version(document.update_time.unwrap_or_default())?;
    let read_at = read_time.map_or(Ok(version.0), timestamp)?;
    Ok(Stored::at(read_at, id, version, to_fields(document)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_document_is_measured_by_the_clock_of_the_server() {
        let time = |seconds| Some(ProtoTimestamp { seconds, nanos: 0 });
        let document = Document { update_time: time(10), ..Document::default() };
        assert_eq!(stored(&document, time(15)).expect("a document").age, Duration::from_secs(5));
    }
}
