//! `GET /_local/stream`: the changes, as [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).
//! A client that was away continues after its `Last-Event-ID`, or after the number in `?after=`.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use serde::Deserialize;

use crate::{
    Stack,
    journal::{Journal, Since},
};

/// Changes are sent together, at most this often.
const EVERY: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
pub(super) struct Begin {
    after: Option<u64>,
}

pub(super) async fn show(
    State(stack): State<Stack>,
    Query(begin): Query<Begin>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let after = last.or(begin.after).unwrap_or_else(|| stack.journal.last());
    let reader = (stack.journal.clone(), stack.stopping.subscribe(), after);
    let changes = stream::unfold(reader, |(journal, mut stopping, after)| async move {
        let next = tokio::select! {
            biased;
            // Otherwise an open page would hold back the end of the process.
            _ = stopping.wait_for(|stopping| *stopping) => return None,
            next = next(&journal, after) => next,
        };
        let last = next.last;
        Some((Ok(event(&next)), (journal, stopping, last)))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

/// Waits until something has changed.
async fn next(journal: &Journal, after: u64) -> Since {
    loop {
        tokio::time::sleep(EVERY).await;
        let since = journal.since(after);
        if !since.changes.is_empty() || since.has_gap {
            return since;
        }
    }
}

/// After a gap, the client must load the page again.
fn event(since: &Since) -> Event {
    let event = Event::default().id(since.last.to_string()).retry(Duration::from_millis(500));
    if since.has_gap {
        return event.event("gap").data("[]");
    }
    // Serialization cannot fail: all keys are text.
    event.data(serde_json::to_string(&since.changes).unwrap_or_default())
}
