//! Shows mails as a mail program does. Their HTML is not trusted: no script in it runs.

use axum::{
    Router,
    extract::{Path, State},
    http::{
        HeaderName, StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use pushbox::Problem;

use crate::{Mail, stack::Mailbox};

/// Forbids scripts and forms, and loads nothing from outside the mail.
const SANDBOX: [(HeaderName, &str); 2] = [
    (CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

pub(crate) fn routes<S: Clone + Send + Sync + 'static>(mailbox: Mailbox) -> Router<S> {
    Router::new()
        .route("/_local/mails/{id}", get(show))
        .route("/_local/mails/{id}/attachments/{number}", get(show_attachment))
        .with_state(mailbox)
}

async fn show(State(mailbox): State<Mailbox>, Path(id): Path<String>) -> Result<Response, Problem> {
    let mail = find(&mailbox, &id).await?;
    Ok((SANDBOX, [(CONTENT_TYPE, "text/html; charset=utf-8")], mail.html).into_response())
}

async fn show_attachment(
    State(mailbox): State<Mailbox>,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let mail = find(&mailbox, &id).await?;
    let found = number.parse().ok().and_then(|number: usize| mail.attachments.into_iter().nth(number));
    let file = found.ok_or_else(|| Problem::not_found(format_args!("attachment: {number}")))?;
    let is_shown = file.content_type.starts_with("text/") || file.content_type.starts_with("image/");
    let disposition = if is_shown { "inline" } else { "attachment" };
    let plain = |char: char| if char.is_ascii_alphanumeric() || "-._".contains(char) { char } else { '_' };
    let name: String = file.name.chars().map(plain).collect();
    let headers = [
        (CONTENT_TYPE, file.content_type),
        (CONTENT_DISPOSITION, format!("{disposition}; filename=\"{name}\"")),
    ];
    Ok((SANDBOX, headers, file.content).into_response())
}

pub(crate) async fn find(mailbox: &Mailbox, id: &str) -> Result<Mail, Problem> {
    let mails = mailbox().await.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
    let found = mails.into_iter().find(|mail| mail.id == id);
    found.ok_or_else(|| Problem::not_found(format_args!("mail: {id}")))
}
