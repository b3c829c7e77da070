//! Why a handler did not do its work, and what happens next.

use std::{error::Error, fmt};

/// What a handler returns when it could not do its work.
///
/// `?` turns every error into [`Failure::Retry`], the safe default; a rejection is always spelled
/// out. A business "no" is neither: it is an event and an `Ok`.
#[derive(Debug)]
pub enum Failure {
    /// Not now: Pub/Sub delivers again. The text is for the log.
    Retry(String),
    /// Never: the message becomes a dead letter with this reason, which has no personal data in it.
    Reject(String),
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        Self::Retry(text)
    }
}

/// A [`Failure::Reject`]: this message can never be handled, for this reason.
pub fn reject(reason: impl fmt::Display) -> Failure {
    Failure::Reject(reason.to_string())
}
