//! The outcome of a delivery.

use axum::http::StatusCode;

/// The outcome of a delivery. It decides whether Pub/Sub delivers the message again.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// This delivery handled the event.
    Handled,
    /// An earlier delivery handled the event: its receipt exists.
    Duplicate,
    /// The service does not handle this type.
    Ignored,
    /// Not now: Pub/Sub delivers again.
    Retry(String),
    /// Never: the message is a dead letter now.
    Rejected(String),
    /// The handler panicked: Pub/Sub delivers again.
    Panicked,
}

impl Outcome {
    /// The name in the log and in the response.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Retry(_) => "retry",
            Self::Rejected(_) => "reject",
            Self::Panicked => "panic",
        }
    }

    /// The [status for Pub/Sub](https://cloud.google.com/pubsub/docs/push#receive_push).
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Handled | Self::Duplicate | Self::Ignored | Self::Rejected(_) => StatusCode::NO_CONTENT,
            Self::Retry(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
