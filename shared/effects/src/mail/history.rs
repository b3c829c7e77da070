//! The mail history of a service: a record of each mail, and the route that lists them.

use axum::Json;
use jiff::Timestamp;
use pushbox::{Context, Document, Documents, Page, PageQuery, Problem};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Sent;

/// The fields of a [`MailRecord`] that differ from service to service.
pub trait MailDetails: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The query parameters of the list, besides those of the page.
    type Filter: DeserializeOwned + Send + Sync + 'static;

    /// The id of the record. A service sends one mail for each id.
    fn id(&self) -> String;

    /// The field, and its value, by which the filter selects records. `None` selects all.
    fn selection(filter: &Self::Filter) -> Option<(&'static str, &str)>;
}

/// The document that records a mail.
#[derive(Debug, Serialize, Deserialize)]
pub struct MailRecord<D> {
    #[serde(flatten)]
    details: D,
    status: Status,
    /// When the mail got this status.
    at: Timestamp,
}

/// The progress of a mail, as its record shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// The mail is claimed, and may be on its way.
    Sending,
    /// A server has accepted it.
    Sent,
    /// The server refused it for good: another attempt would not help.
    Refused(String),
    /// A server may have accepted it, but gave no answer. The mail is not sent again.
    Unknown,
}

impl From<Sent> for Status {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Accepted => Self::Sent,
            Sent::Refused { reason } => Self::Refused(reason),
            Sent::Unknown => Self::Unknown,
        }
    }
}

/// Answers `GET /emails`: one page of the mail history.
///
/// # Errors
/// 400 if the cursor is invalid, 503 when the store fails.
pub async fn list_mails<D: MailDetails>(
    documents: Documents,
    page: PageQuery<D::Filter>,
) -> Result<Json<Page<MailRecord<D>>>, Problem> {
    let selection = D::selection(&page.filter).map(|(field, value)| (field, value.into()));
    documents.page(selection.into_iter().collect(), &page).await.map(Json)
}

impl<D> MailRecord<D> {
    pub(super) fn new(details: D, status: Status, cx: &Context) -> Self {
        Self { details, status, at: cx.now() }
    }
}

impl<D: MailDetails> Document for MailRecord<D> {
    const COLLECTION: &'static str = "emails";
    fn id(&self) -> String {
        self.details.id()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Details {
        user_id: String,
        kind: String,
    }

    #[test]
    fn the_fields_of_a_record_are_flat_and_in_order() {
        let at = Timestamp::UNIX_EPOCH;
        for (status, expected) in [
            (Status::Sending, json!("sending")),
            (Status::Sent, json!("sent")),
            (Status::Refused("550".to_owned()), json!({ "refused": "550" })),
            (Status::Unknown, json!("unknown")),
        ] {
            let details = Details { user_id: "u".to_owned(), kind: "welcome".to_owned() };
            let text = serde_json::to_string(&MailRecord { details, status: status.clone(), at });
            let text = text.expect("a record is JSON");
            let expected = format!(
                r#"{{"userId":"u","kind":"welcome","status":{expected},"at":"1970-01-01T00:00:00Z"}}"#
            );
            assert_eq!(text, expected);
            let read: MailRecord<Details> = serde_json::from_str(&text).expect("the same record");
            assert_eq!((read.details.kind.as_str(), read.status, read.at), ("welcome", status, at));
        }
    }
}
