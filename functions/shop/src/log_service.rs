//! The log entries of all services, in the order of time.

use axum::Json;
use events::{LogCreated, LogLevel};
use jiff::Timestamp;
use pushbox::{Context, Document, Documents, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("log-service", "keeps log entries").on(keep).get("/logs", logs)
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// Begins with the time, so the ids sort by time. Firestore takes
    /// [500 writes a second](https://firebase.google.com/docs/firestore/best-practices#hotspots) with
    /// such ids: the log is for entries that people read, not for metrics.
    id: String,
    at: Timestamp,
    #[serde(flatten)]
    log: LogCreated,
}

async fn keep(log: LogCreated, cx: Context) -> Result<(), Failure> {
    let at = cx.occurred_at();
    let entry = Entry { id: format!("{}.{}", sortable(at), &cx.new_id()[..12]), at, log };
    cx.create(&entry).require_new()?;
    Ok(())
}

#[derive(Deserialize)]
struct LogFilter {
    level: Option<LogLevel>,
    service: Option<String>,
    since: Option<Timestamp>,
}

async fn logs(documents: Documents, page: PageQuery<LogFilter>) -> Result<Json<Page<Entry>>, Problem> {
    let LogFilter { level, service, since } = &page.filter;
    let level = level.map(|level| ("level", name(level).into()));
    let service = service.as_ref().map(|service| ("service", service.as_str().into()));
    let since = since.map(sortable).unwrap_or_default();
    documents.page_after(level.into_iter().chain(service).collect(), &since, &page).await.map(Json)
}

/// All times have the same length, so the texts sort by time.
fn sortable(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// The level as it is stored.
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
