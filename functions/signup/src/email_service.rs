//! Mails: a welcome to each user.

use axum::{Json, Router, extract::Query, routing::get};
use effects::mail::{Mail, Mailer, Sent, Status};
use events::{EmailAddress, PersonName, UserCreated, UserId};
use jiff::Timestamp;
use maud::html;
use pushbox::{Context, Document, Documents, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service(mailer: Mailer) -> Service {
    Service::new("email-service", "welcomes new users by mail")
        .effect(plan_welcome, move |welcome, key| mailer.clone().send(render(welcome), key), record_welcome)
        .routes(Router::new().route("/emails", get(emails)))
        .secret("MAIL_URL")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Email {
    user_id: UserId,
    kind: Kind,
    status: Status,
    at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Welcome,
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    user_id: UserId,
    to: EmailAddress,
    name: PersonName,
}

async fn plan_welcome(user: UserCreated, cx: Context) -> Result<Option<Welcome>, Failure> {
    let email = Email { user_id: user.user_id, kind: Kind::Welcome, status: Status::Sending, at: cx.now() };
    Ok(match cx.create(&email) {
        Ok(()) => Some(Welcome { user_id: email.user_id, to: user.email, name: user.name }),
        // Another event about the same user: they have been welcomed.
        Err(_) => None,
    })
}

fn render(Welcome { to, name, .. }: Welcome) -> Mail {
    let name = name.as_str();
    Mail {
        to,
        subject: format!("Welcome, {name}"),
        text: format!("Hello {name},\n\nthank you for signing up. Your account is ready.\n"),
        html: html! {
            p { "Hello " (name) "," }
            p { "thank you for signing up. Your account is ready." }
        }
        .into_string(),
        attachments: Vec::new(),
    }
}

async fn record_welcome(welcome: Welcome, sent: Sent, cx: Context) -> Result<(), Failure> {
    cx.put(&Email { user_id: welcome.user_id, kind: Kind::Welcome, status: sent.into(), at: cx.now() });
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Of {
    user_id: Option<UserId>,
}

async fn emails(
    documents: Documents,
    Query(of): Query<Of>,
    page: PageQuery,
) -> Result<Json<Page<Email>>, Problem> {
    let filters = of.user_id.map(|user| ("userId", user.as_str().into()));
    documents.page(filters.into_iter().collect(), &page).await.map(Json)
}

impl Document for Email {
    const COLLECTION: &'static str = "emails";
    fn id(&self) -> String {
        match self.kind {
            Kind::Welcome => format!("welcome-{}", self.user_id),
        }
    }
}
