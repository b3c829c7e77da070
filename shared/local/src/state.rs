//! What the page and `GET /_local/state` show.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pushbox::Catalog;
use serde::Serialize;

use crate::broker::{Broker, Published, RecentEvent, event_type};

/// So many dead letters are shown, the newest ones.
const MOST_DEAD_LETTERS: usize = 100;

/// So much of a dead letter's data is shown.
const MOST_DATA: usize = 2000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) services: Vec<ServiceState>,
    /// The newest first.
    pub(crate) events: Vec<RecentEvent>,
    /// All of them; `deadLetters` may show less.
    pub(crate) dead_letter_count: usize,
    /// The newest first.
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) mails: Vec<Mail>,
}

#[derive(Serialize)]
pub(crate) struct ServiceState {
    pub(crate) name: String,
    pub(crate) system: String,
    pub(crate) about: String,
    pub(crate) running: bool,
    pub(crate) subscriptions: Vec<SubscriptionState>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionState {
    pub(crate) name: String,
    /// Messages that are not under way. On the emulator nobody knows.
    pub(crate) waiting: Option<usize>,
    pub(crate) in_flight: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetter {
    pub(crate) service: String,
    pub(crate) message_id: String,
    pub(crate) r#type: Option<String>,
    pub(crate) reason: String,
    pub(crate) published_at: Timestamp,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) data: String,
}

/// A mail in the local mailbox.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// When it was sent.
    pub sent_at: Timestamp,
    /// To whom.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its plain text.
    pub text: String,
}

impl State {
    pub(crate) fn of(
        catalog: &Catalog,
        broker: Option<&Broker>,
        is_running: impl Fn(&str) -> bool,
        mails: Vec<Mail>,
    ) -> Self {
        let service = |entry: &pushbox::ServiceEntry| ServiceState {
            name: entry.name.clone(),
            system: entry.system.clone(),
            about: entry.about.clone(),
            running: is_running(&entry.name),
            subscriptions: entry
                .subscriptions
                .iter()
                .map(|subscription| SubscriptionState::of(&subscription.name, broker))
                .collect(),
        };
        let services = catalog.services.iter().map(service).collect();
        let Some(broker) = broker else {
            return Self {
                services,
                events: Vec::new(),
                dead_letter_count: 0,
                dead_letters: Vec::new(),
                mails,
            };
        };
        broker.act(|topics, _| {
            let mut letters: Vec<_> = topics.dead_letters().collect();
            letters.sort_by_key(|(_, message)| std::cmp::Reverse(message.publish_time));
            let shown = letters.iter().take(MOST_DEAD_LETTERS);
            Self {
                services,
                events: topics.recent().iter().rev().cloned().collect(),
                dead_letter_count: letters.len(),
                dead_letters: shown.map(|(service, message)| DeadLetter::of(service, message)).collect(),
                mails,
            }
        })
    }
}

impl SubscriptionState {
    fn of(name: &str, broker: Option<&Broker>) -> Self {
        let (waiting, in_flight) = broker.map(|broker| broker.act(|topics, _| topics.backlog(name))).unzip();
        Self { name: name.to_owned(), waiting, in_flight }
    }
}

impl DeadLetter {
    fn of(service: &str, message: &Published) -> Self {
        let text = String::from_utf8_lossy(&message.data);
        let cut = text.floor_char_boundary(MOST_DATA);
        Self {
            service: service.to_owned(),
            message_id: message.id(),
            r#type: event_type(message),
            reason: reason(message),
            published_at: message.publish_time,
            attributes: message.attributes.clone(),
            data: text[..cut].to_owned(),
        }
    }
}

/// A service says why it parks a message. Where it gave no answer, the broker has the count.
fn reason(message: &Published) -> String {
    if let Some(reason) = message.attributes.get("dead-letter-reason") {
        return reason.clone();
    }
    let count = message.attributes.get("CloudPubSubDeadLetterSourceDeliveryCount");
    match (count, &message.last_failure) {
        (Some(count), Some(failure)) => format!("given up after {count} deliveries; the last one: {failure}"),
        (Some(count), None) => format!("given up after {count} deliveries"),
        (None, _) => "published here by hand".to_owned(),
    }
}
