//! What a browser does with its session's cookie: it gets the next access token, or signs out.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use events::RevocationReason;
use pushbox::{Command, Context, Documents, Problem, Reply};
use serde::{Deserialize, Serialize};

use super::{
    Desk,
    browser::{Browser, with_cookie},
    ended,
    sessions::{Opened, Session, Standing, Ticket},
};

/// The body of a request that needs only the cookie.
#[derive(Deserialize)]
pub(super) struct NoFields {}

/// The reply to a refresh, as its receipt holds it. An answer of 4xx would not commit the end of a session.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Refreshed {
    To(Opened),
    Reused,
}

pub(super) async fn refresh(
    desk: Arc<Desk>,
    browser: Browser,
    documents: Documents,
    command: Command<NoFields>,
) -> Result<Response, Problem> {
    browser.check_origin(desk.settings.origins.as_ref())?;
    let Some(ticket) = browser.ticket else { return Ok(with_cookie(ended(), None)) };
    let command = command.with_fingerprint(desk.fingerprint_of(&ticket));
    let visit = Arc::new((desk.clone(), ticket));
    let reply = command.run(visit, |visit, cx| async move { next(&visit.0, &visit.1, &cx).await });
    match reply.await?.read()? {
        Refreshed::To(opened) => desk.welcome(StatusCode::OK, &opened, &documents).await,
        Refreshed::Reused => Ok(with_cookie(ended(), None)),
    }
}

async fn next(desk: &Desk, ticket: &Ticket, cx: &Context) -> Result<Reply, Problem> {
    let key = &desk.settings.signing_key;
    let session: Session = cx.get(ticket.session_id.as_str()).await?.ok_or_else(ended)?;
    let refreshed = match session.standing(ticket, key, cx.now()) {
        Standing::Current => Refreshed::To(session.refresh(key, cx)),
        Standing::Previous => Refreshed::To(session.opened()),
        Standing::Reused => {
            tracing::warn!(session = %session.session_id, "an old cookie was used, so the session ends");
            session.end(RevocationReason::Reused, cx);
            Refreshed::Reused
        }
        Standing::Void => return Err(ended()),
    };
    Ok(Reply::ok(&refreshed))
}

/// Any value that the session ever had signs it out. Whoever has no session is signed out already.
pub(super) async fn sign_out(
    desk: Arc<Desk>,
    browser: Browser,
    command: Command<NoFields>,
) -> Result<Response, Problem> {
    browser.check_origin(desk.settings.origins.as_ref())?;
    if let Some(ticket) = browser.ticket {
        let command = command.with_fingerprint(desk.fingerprint_of(&ticket));
        let visit = Arc::new((desk.clone(), ticket));
        let leave = command.run(visit, |visit, cx| async move {
            let (desk, ticket) = &*visit;
            let session: Option<Session> = cx.get(ticket.session_id.as_str()).await?;
            let is_void = |session: &Session| {
                matches!(session.standing(ticket, &desk.settings.signing_key, cx.now()), Standing::Void)
            };
            if let Some(session) = session.filter(|session| !is_void(session)) {
                session.end(RevocationReason::SignedOut, &cx);
            }
            Ok(Reply::ok(&()))
        });
        leave.await?;
    }
    Ok(with_cookie(StatusCode::NO_CONTENT.into_response(), None))
}

impl Desk {
    fn fingerprint_of(&self, ticket: &Ticket) -> String {
        self.settings.signing_key.derive("fingerprint", &["cookie", &ticket.to_string()])
    }
}
