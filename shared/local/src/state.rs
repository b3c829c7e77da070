//! The state that `GET /_local/state` shows.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use catalog::{Catalog, ServiceEntry};
use futures::future::try_join_all;
use jiff::Timestamp;
use redrive::{Letter, Names, Pulled};
use serde::Serialize;

use crate::{
    broker::{Broker, Fate, Published, RecentEvent, event_type},
    emulator::{Emulator, ProvisionError},
    pushes::Pushes,
    stack::Transport,
};
use pushbox::wire::attribute;

/// How many events are shown, newest first.
const MOST_EVENTS: usize = 200;

/// How many dead letters are shown, newest first.
const MOST_DEAD_LETTERS: usize = 100;

/// How many mails are shown, newest first.
const MOST_MAILS: usize = 200;

/// How many bytes of a message's data are shown.
const MOST_DATA: usize = 4000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// The number of the last change in `GET /_local/stream`.
    pub(crate) sequence: u64,
    pub(crate) carried_by: CarriedBy,
    pub(crate) services: Vec<ServiceState>,
    /// Newest first. On the emulator, only the events that it has pushed to this process.
    pub(crate) events: Vec<EventState>,
    /// The total; `deadLetters` may list fewer. `None` if the total is unknown.
    pub(crate) dead_letter_count: Option<usize>,
    /// Newest first.
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// The total; `mails` may list fewer. `None` if the mails cannot be read.
    pub(crate) mail_count: Option<usize>,
    /// Newest first.
    pub(crate) mails: Vec<Mail>,
}

/// The transport of the events.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CarriedBy {
    Broker,
    Emulator,
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
    /// Messages that are not in flight. `None` on the emulator, which does not report it.
    pub(crate) waiting: Option<usize>,
    pub(crate) in_flight: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventState {
    pub(crate) message_id: String,
    pub(crate) topic: String,
    pub(crate) r#type: Option<String>,
    pub(crate) published_at: Timestamp,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Cut off if it is long.
    pub(crate) data: String,
    /// The length of the whole data.
    pub(crate) data_bytes: usize,
    /// By subscription, without those whose filter excludes the message.
    pub(crate) deliveries: BTreeMap<String, Fate>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetter {
    pub(crate) service: String,
    pub(crate) message_id: String,
    pub(crate) r#type: Option<String>,
    /// The same ids and codes as in `functions dead-letters`.
    pub(crate) group: String,
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) published_at: Timestamp,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Cut off if it is long.
    pub(crate) data: String,
    /// The length of the whole data.
    pub(crate) data_bytes: usize,
}

/// A mail in the local mailbox.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// Unique in the mailbox.
    pub id: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// The recipient.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The text as HTML, served at `/_local/mails/<id>`.
    #[serde(skip)]
    pub html: String,
    /// The attached files, served at `/_local/mails/<id>/attachments/<number from 0>`.
    pub attachments: Vec<Attachment>,
}

/// A file attached to a mail.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The file's name.
    pub name: String,
    /// The media type.
    pub content_type: String,
    /// The file's content.
    #[serde(skip)]
    pub content: Bytes,
}

/// Newest first.
pub(crate) type Letters = Vec<DeadLetter>;

impl State {
    pub(crate) async fn of(
        catalog: &Catalog,
        transport: &Transport,
        is_running: impl Fn(&str) -> bool,
        mails: Option<Vec<Mail>>,
        sequence: u64,
    ) -> Self {
        let broker = match transport {
            Transport::Broker(broker) => Some(broker),
            Transport::Emulator(..) => None,
        };
        let services = catalog.services.iter();
        let services = services.map(|entry| ServiceState::of(entry, is_running(&entry.name), broker));
        let mail_count = mails.as_ref().map(Vec::len);
        let mut mails = mails.unwrap_or_default();
        mails.truncate(MOST_MAILS);
        let (carried_by, events, (dead_letter_count, dead_letters)) = match transport {
            Transport::Broker(broker) => (CarriedBy::Broker, events_of(broker), letters_of(broker, catalog)),
            Transport::Emulator(emulator, pushes) => {
                let letters = letters_on(emulator, pushes, catalog).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot read the dead letters");
                    (None, Vec::new())
                });
                (CarriedBy::Emulator, pushes.recent(), letters)
            }
        };
        let events = events.into_iter().take(MOST_EVENTS).map(EventState::from).collect();
        let services = services.collect();
        Self { sequence, carried_by, services, events, dead_letter_count, dead_letters, mail_count, mails }
    }
}

pub(crate) fn events_of(broker: &Broker) -> Vec<RecentEvent> {
    broker.act(|topics, _| topics.recent().iter().rev().cloned().collect())
}

pub(crate) fn letters_of(broker: &Broker, catalog: &Catalog) -> (Option<usize>, Letters) {
    broker.act(|topics, _| {
        let letters: Vec<_> = topics.dead_letters().collect();
        (Some(letters.len()), newest(letters, catalog))
    })
}

pub(crate) async fn letters_on(
    emulator: &Emulator,
    pushes: &Pushes,
    catalog: &Catalog,
) -> Result<(Option<usize>, Letters), ProvisionError> {
    let _turn = emulator.turn().await;
    let of_service = async |service: &ServiceEntry| {
        let (letters, is_all) = emulator.dead_letters(&service.dead_letter_topic).await?;
        Ok::<_, ProvisionError>((service.name.clone(), letters, is_all))
    };
    let all = try_join_all(catalog.services.iter().map(of_service)).await?;
    let letters: Vec<_> = all
        .iter()
        .flat_map(|(name, letters, _)| letters.iter().map(|letter| (name.as_str(), letter)))
        .collect();
    pushes.dead_lettered(letters.iter().map(|(_, letter)| *letter));
    let count = all.iter().all(|(_, _, is_all)| *is_all).then_some(letters.len());
    Ok((count, newest(letters, catalog)))
}

fn newest(mut letters: Vec<(&str, &Published)>, catalog: &Catalog) -> Letters {
    letters.sort_by_key(|(_, message)| std::cmp::Reverse(message.publish_time));
    letters
        .into_iter()
        .filter_map(|(service, message)| {
            let entry = catalog.services.iter().find(|entry| entry.name == service)?;
            Some(DeadLetter::of(entry, message))
        })
        .take(MOST_DEAD_LETTERS)
        .collect()
}

impl ServiceState {
    fn of(entry: &ServiceEntry, running: bool, broker: Option<&Broker>) -> Self {
        let subscriptions = entry.subscriptions.iter();
        Self {
            name: entry.name.clone(),
            system: entry.system.clone(),
            about: entry.about.clone(),
            running,
            subscriptions: subscriptions
                .map(|subscription| SubscriptionState::of(&subscription.name, broker))
                .collect(),
        }
    }
}

impl SubscriptionState {
    fn of(name: &str, broker: Option<&Broker>) -> Self {
        let (waiting, in_flight) = broker.map(|broker| broker.act(|topics, _| topics.backlog(name))).unzip();
        Self { name: name.to_owned(), waiting, in_flight }
    }
}

impl From<RecentEvent> for EventState {
    fn from(RecentEvent { message, deliveries }: RecentEvent) -> Self {
        Self {
            message_id: message.id(),
            topic: message.topic.clone(),
            r#type: event_type(&message),
            published_at: message.publish_time,
            attributes: message.attributes.clone(),
            data: beginning(&message.data).into_owned(),
            data_bytes: message.data.len(),
            deliveries,
        }
    }
}

impl DeadLetter {
    fn of(service: &ServiceEntry, message: &Published) -> Self {
        let pulled = Pulled {
            ack_id: String::new(),
            message_id: message.id(),
            attributes: message.attributes.clone(),
            data: message.data.clone(),
            publish_time: message.publish_time,
        };
        // The names concern only the receipt, which is not shown.
        let names = Names::default();
        let letter = Letter::of(service, &names, pulled);
        Self {
            group: letter.group(),
            service: letter.service,
            message_id: letter.id,
            r#type: letter.event_type,
            code: letter.code,
            reason: reason(message),
            published_at: message.publish_time,
            attributes: letter.attributes,
            data: beginning(&message.data).into_owned(),
            data_bytes: message.data.len(),
        }
    }
}

/// The part of the data that is shown.
pub(crate) fn beginning(data: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(&data[..data.len().min(MOST_DATA)]);
    match data.len() {
        // The cut may be inside a character.
        MOST_DATA.. => text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned().into(),
        _ => text,
    }
}

/// A service states why it dead-letters a message. If the broker gives up, it adds the number of
/// deliveries.
fn reason(message: &Published) -> String {
    if let Some(reason) = message.attributes.get(attribute::DEAD_LETTER_REASON) {
        return reason.clone();
    }
    let count = message.attributes.get(attribute::PUBSUB_DELIVERY_COUNT);
    match (count, &message.last_failure) {
        (Some(count), Some(failure)) => format!("delivery failed {count} times; last failure: {failure}"),
        (Some(count), None) => format!("delivery failed {count} times"),
        (None, _) => "published to the dead-letter topic by hand".to_owned(),
    }
}
