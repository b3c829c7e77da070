//! Contacts: one for each user.

use axum::{Json, extract::Path};
use events::{EmailAddress, PersonName, UserCreated, UserId};
use jiff::Timestamp;
use pushbox::{Context, Created, Document, Documents, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("crm-service", "keeps one contact for each user")
        .on(create_contact)
        .get("/contacts", contacts)
        .get("/contacts/{user_id}", contact)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contact {
    user_id: UserId,
    email: EmailAddress,
    name: PersonName,
    since: Timestamp,
}

async fn create_contact(user: UserCreated, cx: Context) -> Result<(), Failure> {
    let contact =
        Contact { user_id: user.user_id, email: user.email, name: user.name, since: cx.occurred_at() };
    // Another event about the same user changes nothing. (A duplicate of this event is not committed.)
    let (Created::New | Created::Exists) = cx.create(&contact);
    Ok(())
}

async fn contacts(documents: Documents, page: PageQuery) -> Result<Json<Page<Contact>>, Problem> {
    documents.page(vec![], &page).await.map(Json)
}

async fn contact(documents: Documents, Path(id): Path<UserId>) -> Result<Json<Contact>, Problem> {
    documents.get(id.as_str()).await?.map(Json).ok_or_else(|| Problem::not_found("contact"))
}

impl Document for Contact {
    const COLLECTION: &'static str = "contacts";
    fn id(&self) -> String {
        self.user_id.to_string()
    }
}
