//! What a browser does with its session's cookie: it gets the next access token, or signs out.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use events::RevocationReason;
use pushbox::{Command, Context, Documents, Problem, Reply, SignedIn};
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
    let command = command.with_fingerprint(desk.fingerprint_of(Some(&ticket), None));
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

/// Ends the session of the cookie and the session of the access token, which is all that a page of another site
/// has. Whoever has neither is signed out already.
pub(super) async fn sign_out(
    desk: Arc<Desk>,
    browser: Browser,
    user: Result<Option<SignedIn>, Response>,
    command: Command<NoFields>,
) -> Result<Response, Problem> {
    browser.check_origin(desk.settings.origins.as_ref())?;
    let user = match user {
        Ok(user) => user,
        // The token beside a cookie may have expired. Without a cookie, nothing would end.
        Err(_) if browser.ticket.is_some() => None,
        Err(refusal) => return Ok(refusal),
    };
    if browser.ticket.is_some() || user.is_some() {
        let session = user.as_ref().map(SignedIn::session);
        let command = command.with_fingerprint(desk.fingerprint_of(browser.ticket.as_ref(), session));
        let visit = Arc::new((desk.clone(), browser.ticket, user));
        let leave = command.run(visit, |visit, cx| async move {
            let (desk, ticket, user) = &*visit;
            leave(desk, ticket.as_ref(), user.as_ref(), &cx).await.map(|()| Reply::ok(&()))
        });
        leave.await?;
    }
    Ok(with_cookie(StatusCode::NO_CONTENT.into_response(), None))
}

/// Any value that the cookie of a session ever had ends it.
async fn leave(
    desk: &Desk,
    ticket: Option<&Ticket>,
    user: Option<&SignedIn>,
    cx: &Context,
) -> Result<(), Problem> {
    if let Some(ticket) = ticket
        && let Some(session) = cx.get::<Session>(ticket.session_id.as_str()).await?
        && !matches!(session.standing(ticket, &desk.settings.signing_key, cx.now()), Standing::Void)
    {
        session.end(RevocationReason::SignedOut, cx);
    }
    // If it is the same session, it is not live any more.
    if let Some(user) = user
        && let Some(session) = cx.get::<Session>(user.session()).await?
        && session.is_live(cx.now())
    {
        session.end(RevocationReason::SignedOut, cx);
    }
    Ok(())
}

impl Desk {
    /// Recognises a repeat by its cookie and by the session of its access token.
    fn fingerprint_of(&self, ticket: Option<&Ticket>, session: Option<&str>) -> String {
        let ticket = ticket.map(Ticket::to_string).unwrap_or_default();
        self.settings.signing_key.derive("fingerprint", &["cookie", &ticket, session.unwrap_or_default()])
    }
}
