//! Queries: routes that read documents and change nothing.

use axum::{
    extract::{FromRequestParts, Query as QueryString},
    http::{StatusCode, request::Parts},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    Document, Failure, Path, Problem, Runtime,
    json::{UNKNOWN, describe, read_only_known},
    store::{Query, Stored},
};

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 200;

/// Access to the documents of a service, for routes that only read.
pub struct Documents {
    runtime: Runtime,
}

/// The most bytes of an indexed value and of a document's id. See
/// [Firestore's limits](https://firebase.google.com/docs/firestore/quotas#limits).
const LONGEST_VALUE: usize = 1500;

/// The query parameters of a list: `?limit=` (1 to 200, 50 by default) and `?cursor=` (the `next` of the
/// previous page). All other parameters are fields of `F`, read from text. An unknown parameter is an error,
/// because a misspelled filter would return too many items.
#[derive(Debug, Default)]
pub struct PageQuery<F = Unfiltered> {
    limit: Option<usize>,
    cursor: Option<String>,
    /// The other parameters.
    pub filter: F,
}

/// No other parameters.
#[derive(Debug, Default, Deserialize)]
pub struct Unfiltered {}

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// The items, in the order of their ids.
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl FromRequestParts<Runtime> for Documents {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(_: &mut Parts, runtime: &Runtime) -> Result<Self, Self::Rejection> {
        Ok(Self { runtime: runtime.clone() })
    }
}

impl<F: DeserializeOwned> FromRequestParts<Runtime> for PageQuery<F> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, runtime: &Runtime) -> Result<Self, Problem> {
        let pairs = QueryString::<Vec<(String, String)>>::from_request_parts(parts, runtime).await;
        let QueryString(pairs) = pairs.map_err(|_| refuse("The query is not valid."))?;
        let (mut limit, mut cursor, mut fields) = (None, None, Map::new());
        for (name, value) in pairs {
            let before = match name.as_str() {
                "limit" => limit.replace(value).is_some(),
                "cursor" => cursor.replace(value).is_some(),
                _ if value.len() > LONGEST_VALUE => {
                    return Err(refuse(format_args!("{name} has more than {LONGEST_VALUE} bytes.")));
                }
                _ => fields.insert(name.clone(), value.into()).is_some(),
            };
            if before {
                return Err(refuse(format_args!("{name} comes more than once.")));
            }
        }
        let filter = read_only_known(fields).map_err(|error| {
            let name = error.pointer.trim_start_matches('/');
            // The reason may be a library's message, which is useless without the value.
            let what = if error.reason == UNKNOWN { "unknown" } else { "not valid" };
            refuse(format_args!("The query parameter {name} is {what}."))
        })?;
        let limit = limit.map(|limit| {
            let limit = limit.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
            limit.ok_or_else(|| refuse(format_args!("limit goes from 1 to {LARGEST_PAGE}.")))
        });
        Ok(Self { limit: limit.transpose()?, cursor, filter })
    }
}

fn refuse(detail: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// Whether a stored document can have this id: its [`Path`] has escaped what Firestore refuses. See
/// [Firestore's limits](https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields).
fn is_document_id(id: &str) -> bool {
    let is_reserved = id.len() >= 4 && id.starts_with("__") && id.ends_with("__");
    (1..=LONGEST_VALUE).contains(&id.len()) && !id.contains('/') && ![".", ".."].contains(&id) && !is_reserved
}

impl<F> PageQuery<F> {
    /// The most items of the page.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_PAGE)
    }

    /// The id after which the page begins.
    ///
    /// # Errors
    /// 400 if the cursor is not valid.
    pub fn after(&self) -> Result<Option<String>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let id = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let id = id.filter(|id| is_document_id(id));
        id.map(Some).ok_or_else(|| refuse("The cursor is not valid."))
    }
}

impl<T> Page<T> {
    /// The first `limit` of `items`. If there are more, the next page begins after the `id` of the last one.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: usize, id: impl Fn(&T) -> String) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(|last| URL_SAFE_NO_PAD.encode(id(last)));
        Self { items, next }
    }
}

impl Documents {
    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.runtime.now()
    }

    /// Reads one document.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the store fails, or if a document is not a `D`.
    pub async fn get<D: Document>(&self, id: impl AsRef<str>) -> Result<Option<D>, Failure> {
        let path = Path::new(self.runtime.name(), D::COLLECTION, id.as_ref());
        // No document can have it, and Firestore answers with an error that looks like an outage.
        if path.id().len() > LONGEST_VALUE {
            return Ok(None);
        }
        self.runtime.ports().store.get(&path).await?.map(document).transpose()
    }

    /// One page of the documents whose fields have these values.
    ///
    /// # Errors
    /// 400 if the cursor is invalid, 503 if the store fails.
    pub async fn page<D: Document>(
        &self,
        filters: Vec<(&'static str, Value)>,
        page: &PageQuery<impl Sized>,
    ) -> Result<Page<D>, Problem> {
        self.page_after(filters, "", page).await
    }

    /// Likewise, but only documents with ids greater than `after`.
    ///
    /// # Errors
    /// 400 if the cursor is invalid, 503 if the store fails.
    pub async fn page_after<D: Document>(
        &self,
        filters: Vec<(&'static str, Value)>,
        after: &str,
        page: &PageQuery<impl Sized>,
    ) -> Result<Page<D>, Problem> {
        let after = page.after()?.unwrap_or_default().max(after.to_owned());
        let found = self.list::<D>(filters, &after, page.limit() + 1).await?;
        let Page { items, next } = Page::cut(found, page.limit(), |last| last.id.clone());
        Ok(Page { items: items.into_iter().map(document).collect::<Result<_, _>>()?, next })
    }

    /// The first `limit` documents with ids greater than `after`.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the store fails, or if a document is not a `D`.
    pub async fn after<D: Document>(&self, after: &str, limit: usize) -> Result<Vec<D>, Failure> {
        self.list::<D>(Vec::new(), after, limit).await?.into_iter().map(document).collect()
    }

    async fn list<D: Document>(
        &self,
        filters: Vec<(&'static str, Value)>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Stored>, Failure> {
        let collection = Path::collection_of(self.runtime.name(), D::COLLECTION);
        let query = Query { collection, filters, after: Some(after.to_owned()), limit };
        Ok(self.runtime.ports().store.list(&query).await?)
    }
}

fn document<D: DeserializeOwned>(stored: Stored) -> Result<D, Failure> {
    serde_json::from_value(stored.fields.into()).map_err(|error| Failure::Retry(describe(&error)))
}
