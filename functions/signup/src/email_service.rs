//! Mails: a welcome to each user. A duplicate sends no second mail, except in the cases that
//! [`pushbox::Effect`] lists.

use effects::mail::{Mail, MailCall, MailDetails, MailEffect, Mailer, list_mails};
use events::{EmailAddress, PersonName, UserCreated, UserId};
use maud::html;
use pushbox::Service;
use serde::{Deserialize, Serialize};

pub fn service(mailer: Mailer) -> Service {
    Service::new("email-service", "welcomes new users by mail")
        .effect(MailEffect::<UserCreated, Welcome>::new(mailer))
        .get("/emails", list_mails::<WelcomeDetails>)
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    user_id: UserId,
    to: EmailAddress,
    name: PersonName,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WelcomeDetails {
    user_id: UserId,
    kind: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Welcome,
}

impl From<UserCreated> for Welcome {
    fn from(UserCreated { user_id, email, name }: UserCreated) -> Self {
        Self { user_id, to: email, name }
    }
}

impl MailCall for Welcome {
    type Details = WelcomeDetails;

    fn details(&self) -> WelcomeDetails {
        WelcomeDetails { user_id: self.user_id.clone(), kind: Kind::Welcome }
    }

    fn render(self) -> Mail {
        let name = self.name.as_str();
        Mail {
            to: self.to,
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
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmailFilter {
    user_id: Option<UserId>,
}

impl MailDetails for WelcomeDetails {
    type Filter = EmailFilter;

    fn id(&self) -> String {
        match self.kind {
            Kind::Welcome => format!("welcome-{}", self.user_id),
        }
    }

    fn selection(filter: &EmailFilter) -> Option<(&'static str, &str)> {
        filter.user_id.as_ref().map(|id| ("userId", id.as_str()))
    }
}
