//! The local mailbox: a fake mail server that stores each mail as a document.

use std::sync::Arc;

use jiff::Timestamp;
use pushbox::{
    Clock, Failure, Path,
    store::{Query, Store, StoreError},
};
use serde::{Deserialize, Serialize};

use super::{Mail, Sent};
use crate::keep::{NotKept, keep_first};

const SERVICE: &str = "local-mailbox";
const COLLECTION: &str = "mails";

/// A mail in the local mailbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalMail {
    /// The idempotency key that the mail was sent with.
    pub id: String,
    /// The time of the first attempt.
    pub sent_at: Timestamp,
    /// The mail.
    #[serde(flatten)]
    pub mail: Mail,
}

/// Reads the local mailbox: up to `limit` mails with ids greater than `after`, in the order of the ids.
/// The ids are hashes. To find the newest mails, read all of them and sort them by `sent_at`.
///
/// # Errors
/// The store fails, or holds something that is not a mail.
pub async fn mailbox(
    store: &dyn Store,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<LocalMail>, StoreError> {
    let collection = Path::collection_of(SERVICE, COLLECTION);
    let query = Query { collection, filters: Vec::new(), after: after.map(str::to_owned), limit };
    let read = |fields| serde_json::from_value(fields).map_err(|_| StoreError("not a mail".to_owned()));
    store.list(&query).await?.into_iter().map(|stored| read(stored.fields.into())).collect()
}

pub(super) struct LocalMailbox {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl LocalMailbox {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub(super) async fn keep(&self, mail: Mail, key: &str) -> Result<Sent, Failure> {
        let path = Path::new(SERVICE, COLLECTION, key);
        let mail = LocalMail { id: key.to_owned(), sent_at: self.clock.now(), mail };
        match keep_first(&*self.store, path, mail).await {
            Ok(_) => Ok(Sent::Accepted),
            Err(NotKept::Unknown(_)) => Ok(Sent::Unknown),
            Err(NotKept::Failed(failure)) => Err(failure),
        }
    }
}
