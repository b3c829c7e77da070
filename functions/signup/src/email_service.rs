//! Mails: a welcome to each user.

use axum::Json;
use effects::mail::{Mail, Mailer, Sent, Status};
use events::{EmailAddress, PersonName, UserCreated, UserId};
use jiff::Timestamp;
use maud::html;
use pushbox::{Context, Document, Documents, Effect, Failure, Page, PageQuery, Problem, Service};
use serde::{Deserialize, Serialize};

pub fn service(mailer: Mailer) -> Service {
    Service::new("email-service", "welcomes new users by mail")
        .effect(WelcomeMail { mailer })
        .get("/emails", emails)
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

struct WelcomeMail {
    mailer: Mailer,
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    user_id: UserId,
    to: EmailAddress,
    name: PersonName,
}

impl Effect for WelcomeMail {
    type Event = UserCreated;
    type Call = Welcome;
    type Outcome = Sent;

    async fn claim(&self, user: UserCreated, cx: Context) -> Result<Option<Welcome>, Failure> {
        let UserCreated { user_id, email, name } = user;
        // Another event about the same user: they have been welcomed.
        let is_new = cx.create(&Email::welcome(user_id.clone(), Status::Sending, &cx)).is_new();
        Ok(is_new.then_some(Welcome { user_id, to: email, name }))
    }

    async fn perform(&self, welcome: Welcome, key: String) -> Result<Sent, Failure> {
        self.mailer.clone().send(render(welcome), key).await
    }

    async fn complete(&self, welcome: Welcome, sent: Sent, cx: Context) -> Result<(), Failure> {
        cx.put(&Email::welcome(welcome.user_id, sent.into(), &cx));
        Ok(())
    }

    async fn abandon(&self, welcome: Welcome, cx: Context) -> Result<(), Failure> {
        cx.delete::<Email>(Email::welcome(welcome.user_id, Status::Sending, &cx).id());
        Ok(())
    }
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Of {
    user_id: Option<UserId>,
}

async fn emails(documents: Documents, page: PageQuery<Of>) -> Result<Json<Page<Email>>, Problem> {
    let filters = page.filter.user_id.as_ref().map(|user| ("userId", user.as_str().into()));
    documents.page(filters.into_iter().collect(), &page).await.map(Json)
}

impl Email {
    fn welcome(user_id: UserId, status: Status, cx: &Context) -> Self {
        Self { user_id, kind: Kind::Welcome, status, at: cx.now() }
    }
}

impl Document for Email {
    const COLLECTION: &'static str = "emails";
    fn id(&self) -> String {
        match self.kind {
            Kind::Welcome => format!("welcome-{}", self.user_id),
        }
    }
}
