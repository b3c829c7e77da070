//! Reading, for routes that change nothing.

use axum::{
    extract::{FromRequestParts, Query as QueryString},
    http::{StatusCode, request::Parts},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Document, Failure, Path, Problem, Runtime,
    store::{Query, Stored},
};

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 200;

/// The documents of a service, for routes that only read.
pub struct Documents {
    runtime: Runtime,
}

/// Which page of a list: `?limit=` (1 to 200, else 50) and `?cursor=` (from the page before).
#[derive(Debug, Default, Deserialize)]
pub struct PageQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// In the order of their ids.
    pub items: Vec<T>,
    /// The next page's `cursor`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl FromRequestParts<Runtime> for Documents {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(_: &mut Parts, runtime: &Runtime) -> Result<Self, Self::Rejection> {
        Ok(Self { runtime: runtime.clone() })
    }
}

impl FromRequestParts<Runtime> for PageQuery {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, runtime: &Runtime) -> Result<Self, Problem> {
        let refuse = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let query = QueryString::<Self>::from_request_parts(parts, runtime).await;
        let QueryString(query) = query.map_err(|error| refuse(error.body_text()))?;
        if query.limit.is_some_and(|limit| !(1..=LARGEST_PAGE).contains(&limit)) {
            return Err(refuse(format!("limit goes from 1 to {LARGEST_PAGE}.")));
        }
        Ok(query)
    }
}

impl PageQuery {
    /// At most so many items.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_PAGE)
    }

    /// The id after which the page begins.
    ///
    /// # Errors
    /// 400 for a cursor that is none.
    pub fn after(&self) -> Result<Option<String>, Problem> {
        let refuse = || Problem::new(StatusCode::BAD_REQUEST, "The cursor is not one that a page gave.");
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let id = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        id.filter(|id| !id.is_empty() && !id.contains('/')).map(Some).ok_or_else(refuse)
    }
}

impl<T> Page<T> {
    /// The first `limit` of `items`. Where there are more, the next page begins after the `id` of
    /// the last one.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: usize, id: impl Fn(&T) -> String) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(|last| URL_SAFE_NO_PAD.encode(id(last)));
        Self { items, next }
    }
}

impl Documents {
    /// Reads one document.
    ///
    /// # Errors
    /// [`Failure::Retry`] when the store fails, or holds something that is not a `D`.
    pub async fn get<D: Document>(&self, id: impl AsRef<str>) -> Result<Option<D>, Failure> {
        let path = Path::new(self.runtime.name(), D::COLLECTION, id.as_ref());
        self.runtime.ports().store.get(&path).await?.map(document).transpose()
    }

    /// One page of the documents whose fields have these values.
    ///
    /// # Errors
    /// 400 for a cursor that is none, 503 when the store fails.
    pub async fn page<D: Document>(
        &self,
        filters: Vec<(&'static str, Value)>,
        page: &PageQuery,
    ) -> Result<Page<D>, Problem> {
        self.page_after(filters, "", page).await
    }

    /// One page of those among them whose ids are greater than `after`.
    ///
    /// # Errors
    /// 400 for a cursor that is none, 503 when the store fails.
    pub async fn page_after<D: Document>(
        &self,
        filters: Vec<(&'static str, Value)>,
        after: &str,
        page: &PageQuery,
    ) -> Result<Page<D>, Problem> {
        let after = page.after()?.unwrap_or_default().max(after.to_owned());
        let found = self.list::<D>(filters, &after, page.limit() + 1).await?;
        let Page { items, next } = Page::cut(found, page.limit(), |last| last.id.clone());
        Ok(Page { items: items.into_iter().map(document).collect::<Result<_, _>>()?, next })
    }

    /// The first `limit` documents with ids greater than `after`.
    ///
    /// # Errors
    /// [`Failure::Retry`] when the store fails, or holds something that is not a `D`.
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
    Ok(serde_json::from_value(stored.fields.into())?)
}
