//! Users: one for each e-mail address.

use axum::{Json, extract::Path, http::StatusCode};
use events::{EmailAddress, PersonName, UserCreated, UserId};
use jiff::Timestamp;
use pushbox::{Command, Context, Document, Documents, Failure, FieldErrors, Problem, Reply, Service};
use serde::{Deserialize, Serialize};

pub fn service() -> Service {
    Service::new("user-service", "signs users up")
        .public()
        .publishes::<UserCreated>()
        .post("/users", create_user)
        .get("/users/{id}", user)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    user_id: UserId,
    email: EmailAddress,
    name: PersonName,
    created_at: Timestamp,
}

/// The owner of an address. The id of the document is the address, so an address has one owner.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    email: EmailAddress,
    user_id: UserId,
}

#[derive(Deserialize)]
struct NewUser {
    #[serde(default)]
    email: String,
    #[serde(default)]
    name: String,
}

async fn create_user(command: Command<NewUser>) -> Result<Reply, Problem> {
    let mut errors = FieldErrors::default();
    let email = errors.parse("/email", &command.body.email);
    let name = errors.parse("/name", &command.body.name);
    let (Some(email), Some(name)) = (email, name) else { return Err(errors.into()) };
    command.run((email, name), sign_up).await
}

async fn sign_up((email, name): (EmailAddress, PersonName), cx: Context) -> Result<Reply, Problem> {
    let user_id: UserId = cx.new_id().parse().map_err(Failure::from)?;
    let address = Address { email: email.clone(), user_id: user_id.clone() };
    if cx.create(&address).exists() {
        let detail = "There is a user with this e-mail address already.";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let user = User { user_id, email, name, created_at: cx.now() };
    cx.create(&user).require_new()?;
    cx.publish(&UserCreated {
        user_id: user.user_id.clone(),
        email: user.email.clone(),
        name: user.name.clone(),
    });
    Ok(Reply::created(&user).at(format!("users/{}", user.user_id)))
}

async fn user(documents: Documents, Path(id): Path<UserId>) -> Result<Json<User>, Problem> {
    documents.get(id.as_str()).await?.map(Json).ok_or_else(|| Problem::not_found("user"))
}

impl Document for User {
    const COLLECTION: &'static str = "users";
    fn id(&self) -> String {
        self.user_id.to_string()
    }
}

impl Document for Address {
    const COLLECTION: &'static str = "addresses";
    fn id(&self) -> String {
        self.email.as_str().to_owned()
    }
}
