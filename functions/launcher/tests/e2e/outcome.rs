//! The promise of the signup system: each user is handled once.

use serde_json::Value;

use crate::{
    harness::{eventually, expect},
    world::{User, World},
};

impl World {
    /// Waits until each of these users has one contact, one signup, one mail and one charge, and no other
    /// user has any. Skips services that are not in this world.
    pub(crate) async fn each_is_handled_once(&self, users: &[User]) {
        for service in self.services() {
            let event = format!("{service} has handled each of {} users once", users.len());
            eventually(&event, async || match service {
                "crm-service" => self.one_contact_for_each(users).await,
                "analytics-service" => self.one_signup_for_each(users).await,
                "email-service" => self.one_mail_for_each(users).await,
                "billing-service" => self.one_charge_for_each(users).await,
                _ => Ok(()),
            })
            .await;
        }
    }

    async fn one_contact_for_each(&self, users: &[User]) -> Result<(), String> {
        let contacts = self.list("crm-service", "/contacts").await?;
        expect("contacts", &texts(&contacts, "/userId"), &ids(users))
    }

    async fn one_signup_for_each(&self, users: &[User]) -> Result<(), String> {
        let signups = self.get_json("analytics-service", "/signups").await?;
        let days = signups["days"]["items"].as_array().into_iter().flatten();
        let by_day: i64 = days.filter_map(|day| day["signups"].as_i64()).sum();
        let expected = users.len() as i64;
        expect("signups", &(signups["total"].as_i64(), by_day), &(Some(expected), expected))
    }

    async fn one_mail_for_each(&self, users: &[User]) -> Result<(), String> {
        let emails = self.list("email-service", "/emails").await?;
        expect("emails", &texts(&emails, "/userId"), &ids(users))?;
        let mails = self.firestore.documents("local-mailbox/mails").await;
        let addresses = sorted(users.iter().map(|user| user.email.clone()));
        expect("mails in the local mailbox", &texts(&mails, "/to"), &addresses)
    }

    async fn one_charge_for_each(&self, users: &[User]) -> Result<(), String> {
        for user in users {
            let charge = self.get_json("billing-service", &format!("/charges/{}", user.id)).await?;
            expect("charge", &charge["status"], &"paid".into())?;
        }
        let charges = self.firestore.documents("local-payment-gateway/charges").await;
        expect("charges at the local gateway", &texts(&charges, "/payment/reference"), &ids(users))
    }
}

fn ids(users: &[User]) -> Vec<String> {
    sorted(users.iter().map(|user| user.id.clone()))
}

/// The text at the JSON pointer in each item.
fn texts(items: &[Value], pointer: &str) -> Vec<String> {
    let text = |item: &Value| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    sorted(items.iter().map(text))
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<String> = texts.collect();
    texts.sort_unstable();
    texts
}
