//! What became of a delivery.

use axum::http::StatusCode;

/// What became of a delivery, which decides whether Pub/Sub delivers the message again.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Handled now.
    Handled,
    /// There was a receipt for it already.
    Duplicate,
    /// No event of a type that this service handles.
    Ignored,
    /// Not now; deliver again.
    Retry(String),
    /// Never; it is a dead letter now.
    Rejected(String),
    /// The handler panicked; deliver again.
    Panicked,
}

impl Outcome {
    /// How Pub/Sub is told. <https://cloud.google.com/pubsub/docs/push#receive_push>
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Handled | Self::Duplicate | Self::Ignored | Self::Rejected(_) => StatusCode::NO_CONTENT,
            Self::Retry(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
