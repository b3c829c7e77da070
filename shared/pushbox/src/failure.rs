//! The failure of a handler, and what happens next.

use std::{error::Error, fmt};

use crate::json;

/// The failure of a handler.
///
/// `?` turns every error into [`Failure::Retry`], the safe default. A rejection is always explicit. A
/// business "no" is neither: it is an event and an `Ok`.
#[derive(Debug)]
pub enum Failure {
    /// Not now: Pub/Sub delivers again. The text is for the log, and for the dead letter if this happens too often. It
    /// must contain no personal data.
    Retry(String),
    /// Never: the message becomes a dead letter with this reason. The reason must contain no personal data.
    Reject(String),
}

/// An error that ends a transaction.
pub(crate) trait Refusal: From<Failure> {
    /// Whether the error is final. The runtime commits a verification of the reads behind a final error, so
    /// that it never rests on stale documents.
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

/// Omits the values that serde quotes in its errors, because they may be personal data.
fn describe(error: &(dyn Error + 'static)) -> String {
    error.downcast_ref().map_or_else(|| error.to_string(), json::describe)
}

/// Makes a [`Failure::Reject`] with this reason.
pub fn reject(reason: impl fmt::Display) -> Failure {
    Failure::Reject(reason.to_string())
}
