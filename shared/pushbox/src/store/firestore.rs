//! Firestore in native mode, or its emulator.
//!
//! Calls go through the generated client, since this needs the exact status codes and a commit
//! without a transaction; the `firestore` crate supplies the connection and the credentials.

mod value;

use ::firestore::{FirestoreDb, FirestoreDbOptions};
use async_trait::async_trait;
use gcloud_sdk::{
    google::firestore::v1::{
        CommitRequest, Cursor, Document, DocumentMask, GetDocumentRequest, Precondition as Condition,
        RunQueryRequest, StructuredQuery, Value as FirestoreValue, Write as FirestoreWrite,
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
use serde_json::Value;
use tokio::sync::OnceCell;
use tonic::{Code, Status};

use self::value::{to_document, to_fields, to_value};
use super::{Change, CommitError, Precondition, Query, Store, StoreError, Stored, Version, Write};
use crate::{Path, timing};

/// Firestore. It connects when it is first used, and honours `FIRESTORE_EMULATOR_HOST`.
pub struct Firestore {
    options: FirestoreDbOptions,
    db: OnceCell<FirestoreDb>,
}

impl Firestore {
    /// The database `database` (usually `(default)`) of `project`.
    #[must_use]
    pub fn new(project: &str, database: &str) -> Self {
        let options = FirestoreDbOptions::new(project.to_owned()).with_database_id(database.to_owned());
        Self { options, db: OnceCell::new() }
    }

    /// The same database, reached through another address, such as `http://localhost:8090`.
    #[must_use]
    pub fn through(mut self, url: &str) -> Self {
        self.options = self.options.with_firebase_api_url(url.to_owned());
        self
    }

    async fn db(&self) -> Result<&FirestoreDb, Status> {
        let connect = || FirestoreDb::with_options(self.options.clone());
        self.db.get_or_try_init(connect).await.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Runs `call` with the deadline that every call has, the connection included. The server learns
    /// of it too: a call that is dropped is cancelled.
    async fn call<T>(&self, call: impl AsyncFnOnce(&FirestoreDb) -> Result<T, Status>) -> Result<T, Status> {
        let call = async { call(self.db().await?).await };
        let late = || Status::deadline_exceeded("no answer in time");
        tokio::time::timeout(timing::STORE_DEADLINE, call).await.unwrap_or_else(|_| Err(late()))
    }
}

#[async_trait]
impl Store for Firestore {
    async fn get(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        let found = self
            .call(async |db| {
                let name = name(db, path);
                db.client().get().get_document(GetDocumentRequest { name, ..Default::default() }).await
            })
            .await;
        match found {
            Ok(document) => stored(&document.into_inner()).map(Some),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(failed(&status)),
        }
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
                // A write that changes nothing has no update time of its own.
                let commit_time = response.commit_time.unwrap_or_default();
                let time = |result: &gcloud_sdk::google::firestore::v1::WriteResult| {
                    version(result.update_time.unwrap_or(commit_time))
                };
                Ok(response.write_results.iter().map(time).collect())
            }
            Err(status) => Err(match status.code() {
                Code::AlreadyExists | Code::NotFound | Code::FailedPrecondition | Code::Aborted => {
                    CommitError::Conflict
                }
                Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
                    CommitError::Refused(failed(&status))
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
                found.extend(answer.document);
            }
            Ok(found)
        };
        let found = self.call(list).await.map_err(|status| failed(&status))?;
        found.iter().map(stored).collect()
    }
}

fn failed(status: &Status) -> StoreError {
    StoreError(format!("{:?}: {}", status.code(), status.message()))
}

fn name(db: &FirestoreDb, path: &Path) -> String {
    [db.get_documents_path(), "/", path.as_str()].concat()
}

fn version(time: ProtoTimestamp) -> Version {
    Version { seconds: time.seconds, nanos: time.nanos }
}

fn to_write(db: &FirestoreDb, write: &Write) -> Result<FirestoreWrite, Status> {
    let name = name(db, &write.path);
    let condition = match write.only_if {
        Precondition::None => None,
        Precondition::Absent => Some(ConditionType::Exists(false)),
        Precondition::At(Version { seconds, nanos }) => {
            Some(ConditionType::UpdateTime(ProtoTimestamp { seconds, nanos }))
        }
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
        // There is no such operation in the public API. Deleting what must be absent, and updating
        // no field of what must be unchanged, check the precondition and change nothing.
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
    // There is no empty id, and Firestore takes none to begin after.
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

fn stored(document: &Document) -> Result<Stored, StoreError> {
    let id = document.name.rsplit('/').next().unwrap_or_default().to_owned();
    let version = version(document.update_time.unwrap_or_default());
    Ok(Stored { id, version, fields: to_fields(document)? })
}
