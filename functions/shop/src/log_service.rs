//! The log of what services find worth telling, by time.

use axum::Json;
use events::{LogCreated, LogLevel};
use jiff::Timestamp;
use pushbox::{Context, Document, Documents, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("log-service", "keeps what services find worth telling").on(keep).get("/logs", logs)
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// Begins with the time, so that the order of the ids is that of the entries. Firestore takes
    /// [500 writes a second](https://firebase.google.com/docs/firestore/best-practices#hotspots) of
    /// such ids: this is for what people read, not for what machines count.
    id: String,
    at: Timestamp,
    #[serde(flatten)]
    log: LogCreated,
}

async fn keep(log: LogCreated, cx: Context) -> Result<(), Failure> {
    let at = cx.occurred_at();
    cx.put(&Entry { id: format!("{}.{}", sortable(at), &cx.new_id()[..12]), at, log });
    Ok(())
}

#[derive(Deserialize)]
struct Which {
    level: Option<LogLevel>,
    service: Option<String>,
    since: Option<Timestamp>,
}

async fn logs(documents: Documents, page: PageQuery<Which>) -> Result<Json<Page<Entry>>, Problem> {
    let which = &page.filter;
    let level = which.level.map(|level| ("level", name(level).into()));
    let service = which.service.as_ref().map(|service| ("service", service.as_str().into()));
    let since = which.since.map(sortable).unwrap_or_default();
    documents.page_after(level.into_iter().chain(service).collect(), &since, &page).await.map(Json)
}

/// The same length for all times, so that their order is that of the texts.
fn sortable(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// As it is stored.
fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Info => "info",
        LogLevel::Error => "error",
    }
}

impl Document for Entry {
    const COLLECTION: &'static str = "logs";
    fn id(&self) -> String {
        self.id.clone()
    }
}
