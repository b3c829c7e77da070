//! The causal tree of an event: the request or the event that began its story, what every subscriber did with each
//! event, and which events that caused.
//!
//! The tree comes from the receipts. The broker's memory adds the attempts, which only it knows.

use std::collections::{BTreeMap, BTreeSet};

use catalog::ServiceEntry;
use futures::future::{BoxFuture, FutureExt};
use jiff::Timestamp;
use pushbox::{
    Timing,
    store::{Store, StoreError},
    story::{self, Handling, Progress},
    wire::attribute,
};

use crate::{
    Stack,
    broker::{Fate, RecentEvent},
};

/// The most events of a tree, so that a story without end has a page.
pub(super) const MOST_NODES: usize = 200;

/// The beginning of a story.
pub(super) enum Root {
    /// A request to a service.
    Command { service: String, route: String, at: Timestamp, events: Vec<Node> },
    /// An event that no service of ours has published, or whose beginning is not known.
    Event { node: Node, is_known: bool },
}

/// An event.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) event: String,
    /// The messages that the broker still has: the event's own is the last one, the others replay it.
    pub(super) message_ids: Vec<String>,
    pub(super) published_at: Option<Timestamp>,
    /// When a timer publishes it.
    pub(super) due: Option<Timestamp>,
    pub(super) branches: Vec<Branch>,
}

/// What a subscriber did with an event.
pub(super) struct Branch {
    pub(super) service: String,
    /// One word.
    pub(super) result: &'static str,
    pub(super) detail: Option<String>,
    pub(super) handled_at: Option<Timestamp>,
    /// Until when nobody else may make the call.
    pub(super) claimed_until: Option<Timestamp>,
    /// If the broker still has the event.
    pub(super) fate: Option<Fate>,
    pub(super) events: Vec<Node>,
}

/// An event as its message has it.
struct Told<'a> {
    message_id: Option<&'a str>,
    attributes: &'a BTreeMap<String, String>,
    event: String,
    due: Option<Timestamp>,
}

struct Teller<'a> {
    stack: &'a Stack,
    store: &'a dyn Store,
    /// By the event's identity, the newest first: a replay has the identity of its event.
    recent: BTreeMap<String, Vec<RecentEvent>>,
    seen: BTreeSet<String>,
}

/// The tree that this event belongs to.
///
/// # Errors
/// The store fails.
pub(super) async fn of_event(
    stack: &Stack,
    store: &dyn Store,
    recent: &[RecentEvent],
    event: &RecentEvent,
) -> Result<Root, StoreError> {
    let mut known = BTreeMap::<String, Vec<RecentEvent>>::new();
    for event in recent {
        let identity = identity(&event.message.attributes, &event.message.id());
        known.entry(identity).or_default().push(event.clone());
    }
    let mut teller = Teller { stack, store, recent: known, seen: BTreeSet::new() };
    let attributes = &event.message.attributes;
    let root = attributes.get(attribute::CORRELATION_ID).cloned().unwrap_or_else(|| own_id(event));
    if let Some((service, handling)) = teller.command(&root, attributes).await? {
        let Handling { key, at, events, .. } = handling;
        // The rest is the idempotency key, which may be the caller's secret.
        let route = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let events = teller.caused(&events).await?;
        return Ok(Root::Command { service, route, at, events });
    }
    let begins = teller.recent.values().flatten().find(|event| own_id(event) == root).cloned();
    let is_known = begins.is_some();
    let first = begins.as_ref().unwrap_or(event);
    let message_id = first.message.id();
    let told = Told {
        message_id: Some(&message_id),
        attributes: &first.message.attributes,
        event: crate::broker::event_type(&first.message).unwrap_or_default(),
        due: None,
    };
    Ok(Root::Event { node: teller.tell(told).await?, is_known })
}

/// The id that other events of the story have as their cause.
fn own_id(event: &RecentEvent) -> String {
    let id = event.message.attributes.get(attribute::ID).cloned();
    id.unwrap_or_else(|| event.message.id())
}

/// What tells two events apart: the source and the id, or else the message's id.
fn identity(attributes: &BTreeMap<String, String>, message_id: &str) -> String {
    match (attributes.get(attribute::SOURCE), attributes.get(attribute::ID)) {
        (Some(source), Some(id)) => format!("{source} {id}"),
        _ => attributes.get(attribute::DEAD_LETTER_MESSAGE_ID).map_or(message_id, String::as_str).to_owned(),
    }
}

impl Teller<'_> {
    /// The command that begins a story. The service that published the event is the first guess.
    async fn command(
        &self,
        root: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Option<(String, Handling)>, StoreError> {
        let source = attributes.get(attribute::SOURCE).and_then(|source| source.rsplit('/').next());
        let takes_commands = self.stack.catalog.services.iter().filter(|service| service.relays);
        let names = source.into_iter().chain(takes_commands.map(|service| &*service.name));
        for name in names {
            if let Some(handling) = story::of_command(self.store, name, root).await? {
                return Ok(Some((name.to_owned(), handling)));
            }
        }
        Ok(None)
    }

    async fn caused(&mut self, events: &[story::Caused]) -> Result<Vec<Node>, StoreError> {
        let mut nodes = Vec::new();
        for story::Caused { message, due } in events {
            let event = message.attributes.get(attribute::TYPE).cloned().unwrap_or_default();
            let told = Told { message_id: None, attributes: &message.attributes, event, due: *due };
            nodes.push(self.tell(told).await?);
        }
        Ok(nodes)
    }

    /// The future is boxed, because an event causes events.
    fn tell<'a>(&'a mut self, told: Told<'a>) -> BoxFuture<'a, Result<Node, StoreError>> {
        async move {
            let Told { message_id, attributes, event, due } = told;
            let key = identity(attributes, message_id.unwrap_or_default());
            let known = self.recent.get(&key).cloned().unwrap_or_default();
            let message_ids: Vec<String> = known.iter().map(|known| known.message.id()).collect();
            let message_id = message_ids.last().cloned().or(message_id.map(str::to_owned));
            let mut branches = Vec::new();
            if self.seen.len() < MOST_NODES && self.seen.insert(key) {
                let stack = self.stack;
                for service in &stack.catalog.services {
                    let id = message_id.as_deref().unwrap_or_default();
                    branches.extend(self.branch(service, &event, id, attributes, &known).await?);
                }
            }
            let id = attributes.get(attribute::ID).cloned().or(message_id).unwrap_or_default();
            let published_at = known.last().map(|known| known.message.publish_time);
            Ok(Node { id, event, message_ids, published_at, due, branches })
        }
        .boxed()
    }

    /// What a service did with an event; none if it does not subscribe to it.
    async fn branch(
        &mut self,
        service: &ServiceEntry,
        event: &str,
        message_id: &str,
        attributes: &BTreeMap<String, String>,
        known: &[RecentEvent],
    ) -> Result<Option<Branch>, StoreError> {
        let fate_at = |name: &str| known.iter().find_map(|known| known.deliveries.get(name)).cloned();
        let handles = |types: &[String]| types.iter().any(|handled| handled == event);
        let mut owned = service.subscriptions.iter();
        let found = owned.find(|owned| handles(&owned.handles) || fate_at(&owned.name).is_some());
        let Some(subscription) = found else { return Ok(None) };
        let fate = fate_at(&subscription.name);
        let full = format!("projects/{}/subscriptions/{}", self.stack.extras.project, subscription.name);
        let handling = story::of_message(self.store, &service.name, &full, message_id, attributes).await?;
        let (result, detail) = match (&handling, &fate) {
            (Some(handling), _) => match &handling.progress {
                Progress::Done => ("handled", None),
                Progress::Claimed => ("claimed", Some("the call has no recorded outcome".to_owned())),
                Progress::Performed => {
                    ("performed", Some("only the record of the call is missing".to_owned()))
                }
                Progress::Abandoned(reason) => ("reject", Some(reason.clone())),
            },
            (None, Some(fate)) => (fate.result(), fate.failure.clone()),
            (None, None) => ("not handled", None),
        };
        let events = match &handling {
            Some(handling) => self.caused(&handling.events).await?,
            None => Vec::new(),
        };
        let handled_at = handling.as_ref().map(|handling| handling.at);
        let claimed_for = handling.and_then(|handling| handling.claimed_for);
        let rest = claimed_for.and_then(|claimed_for| Timing::DEFAULT.lease.checked_sub(claimed_for));
        let claimed_until = rest.and_then(|rest| self.stack.now().checked_add(rest).ok());
        let service = service.name.clone();
        Ok(Some(Branch { service, result, detail, handled_at, claimed_until, fate, events }))
    }
}
