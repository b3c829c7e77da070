//! The callers of the routes.

use events::{SessionRevoked, UserId};
use pushbox::{Context, Failure, Problem, SignedIn, reject, revoke};
use serde::Deserialize;

/// The body of a command that needs no fields.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Nothing {}

/// The id of a signed-in user.
pub(crate) fn user_id(user: &SignedIn) -> Result<UserId, Problem> {
    // Each access token names an id, so this cannot fail.
    user.user()
        .parse()
        .map_err(|error| reject(format_args!("the access token names no user: {error}")).into())
}

/// From now on, [`SignedIn::confirm`] refuses the session.
pub(crate) async fn end_session(revoked: SessionRevoked, cx: Context) -> Result<(), Failure> {
    revoke(revoked.session_id.as_str(), &cx);
    Ok(())
}
