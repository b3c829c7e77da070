//! Why a handler did not do its work, and what happens next.

use std::{error::Error, fmt};

use crate::json;

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

/// An error that ends a transaction.
pub(crate) trait Refusal: From<Failure> {
    /// Whether it says that something is so. Then it must rest on reads that were true together; an
    /// error that only asks to try again need not.
    fn is_final(&self) -> bool;
}

impl Refusal for Failure {
    fn is_final(&self) -> bool {
        matches!(self, Self::Reject(_))
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = describe(&error);
        let mut source = error.source();
        while let Some(cause) = source {
            text += ": ";
            text += &describe(cause);
            source = cause.source();
        }
        Self::Retry(text)
    }
}

/// serde repeats values in its errors, which may be personal data. All others are taken as they are.
fn describe(error: &(dyn Error + 'static)) -> String {
    error.downcast_ref().map_or_else(|| error.to_string(), json::describe)
}

/// A [`Failure::Reject`]: this message can never be handled, for this reason.
pub fn reject(reason: impl fmt::Display) -> Failure {
    Failure::Reject(reason.to_string())
}
