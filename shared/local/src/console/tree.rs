//! The causal tree of an event: the request or the event that began its story, what every subscriber did with each
//! event, and which events that caused.
//!
//! The tree comes from the receipts. The broker's memory adds the attempts, which only it knows.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Catalog, ServiceEntry, Subscription};
use futures::future::{BoxFuture, FutureExt};
use jiff::Timestamp;
use pushbox::{
    Timing,
    store::{Store, StoreError},
    story::{self, Handling, Progress},
    wire::attribute,
};

use redrive::Names;

use crate::broker::{Fate, RecentEvent};

/// The most events of a tree, so that a story without end has a page.
pub(crate) const MOST_NODES: usize = 200;

/// The source of an event of ours is this, and the name of the service.
const OUR_SOURCE: &str = "//pushbox/";

/// The beginning of a story.
pub(crate) enum Root {
    /// A request to a service.
    Command { service: String, route: String, at: Timestamp, events: Vec<Node> },
    /// An event.
    Event { node: Node, beginning: Beginning },
}

/// How a tree begins that does not begin with a request.
pub(crate) enum Beginning {
    /// With an event that no service of ours has published.
    Outside,
    /// With the event of the page, because nothing older is left.
    Forgotten,
    /// With the event that a person searched for.
    Sought { is_type_known: bool },
}

/// An event.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) event: String,
    /// The messages that the broker still has: the event's own is the last one, the others replay it.
    pub(crate) message_ids: Vec<String>,
    pub(crate) published_at: Option<Timestamp>,
    /// When a timer publishes it.
    pub(crate) due: Option<Timestamp>,
    pub(crate) branches: Vec<Branch>,
}

/// What a subscriber did with an event.
pub(crate) struct Branch {
    pub(crate) service: String,
    /// One word.
    pub(crate) result: &'static str,
    pub(crate) detail: Option<String>,
    pub(crate) handled_at: Option<Timestamp>,
    /// Until when nobody else may make the call.
    pub(crate) claimed_until: Option<Timestamp>,
    /// If the broker still has the event.
    pub(crate) fate: Option<Fate>,
    pub(crate) events: Vec<Node>,
}

/// An event as its message has it.
struct Told<'a> {
    message_id: Option<&'a str>,
    attributes: &'a BTreeMap<String, String>,
    event: String,
    due: Option<Timestamp>,
}

/// Where the receipts are.
pub(crate) struct Sources<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) names: &'a Names,
    pub(crate) store: &'a dyn Store,
    pub(crate) now: Timestamp,
}

struct Teller<'a> {
    sources: &'a Sources<'a>,
    /// By the event's identity, the newest first: a replay has the identity of its event.
    recent: BTreeMap<String, Vec<RecentEvent>>,
    seen: BTreeSet<String>,
    /// The [`attribute::CORRELATION_ID`] of the events that were caused.
    root: Option<String>,
}

/// The tree that this event belongs to.
///
/// # Errors
/// The store fails.
pub(super) async fn of_event(
    sources: &Sources<'_>,
    recent: &[RecentEvent],
    event: &RecentEvent,
) -> Result<Root, StoreError> {
    let mut known = BTreeMap::<String, Vec<RecentEvent>>::new();
    for event in recent {
        let identity = identity(&event.message.attributes, &event.message.id());
        known.entry(identity).or_default().push(event.clone());
    }
    let mut teller = Teller::new(sources, known);
    let attributes = &event.message.attributes;
    let root = attributes.get(attribute::CORRELATION_ID).cloned().unwrap_or_else(|| own_id(event));
    let source = attributes.get(attribute::SOURCE).and_then(|source| source.rsplit('/').next());
    if let Some(request) = teller.request(&root, source).await? {
        return Ok(request);
    }
    let begins = teller.recent.values().flatten().find(|event| own_id(event) == root).cloned();
    let beginning = if begins.is_some() { Beginning::Outside } else { Beginning::Forgotten };
    let first = begins.as_ref().unwrap_or(event);
    let message_id = first.message.id();
    let told = Told {
        message_id: Some(&message_id),
        attributes: &first.message.attributes,
        event: crate::broker::event_type(&first.message).unwrap_or_default(),
        due: None,
    };
    Ok(Root::Event { node: teller.tell(told).await?, beginning })
}

/// The tree of an event of which only receipts are known. `key` is the `key` in the log line of a delivery: the source and
/// the id of an event, or a subscription and a message id. It can also be one of these ids alone, or the
/// [`attribute::CORRELATION_ID`] of a story that a request began, which is `root` if it is known besides the key. None if
/// there is no receipt.
///
/// # Errors
/// The store fails.
pub(crate) async fn of_key(
    sources: &Sources<'_>,
    key: &str,
    event_type: Option<&str>,
    root: Option<&str>,
) -> Result<Option<Root>, StoreError> {
    let mut teller = Teller::new(sources, BTreeMap::new());
    if let Some(request) = teller.request(root.unwrap_or(key), None).await? {
        return Ok(Some(request));
    }
    let event = event_type.unwrap_or_default();
    for (attributes, message_id) in meant_by(sources.catalog, key) {
        let told = Told { message_id, attributes: &attributes, event: event.to_owned(), due: None };
        let node = teller.tell(told).await?;
        if node.branches.iter().all(|branch| branch.handled_at.is_none()) {
            continue;
        }
        // The events that this one caused name the beginning of the story.
        if let Some(root) = teller.root.take()
            && let Some(request) = Teller::new(sources, BTreeMap::new()).request(&root, None).await?
        {
            return Ok(Some(request));
        }
        let beginning = Beginning::Sought { is_type_known: event_type.is_some() };
        return Ok(Some(Root::Event { node, beginning }));
    }
    Ok(None)
}

/// The attributes and the message ids that a key can mean.
fn meant_by<'a>(catalog: &Catalog, key: &'a str) -> Vec<(BTreeMap<String, String>, Option<&'a str>)> {
    let event = |source: String, id: &str| {
        let named = [(attribute::SOURCE, source), (attribute::ID, id.to_owned())];
        (named.map(|(name, value)| (name.to_owned(), value)).into(), None)
    };
    let message = |id: &'a str| (BTreeMap::new(), Some(id));
    match key.rsplit_once(' ') {
        Some((first, id)) => vec![event(first.to_owned(), id), message(id)],
        None => {
            let publishers = catalog.services.iter().filter(|service| !service.publishes.is_empty());
            let events = publishers.map(|service| event(format!("{OUR_SOURCE}{}", service.name), key));
            events.chain([message(key)]).collect()
        }
    }
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

impl<'s> Teller<'s> {
    fn new(sources: &'s Sources<'s>, recent: BTreeMap<String, Vec<RecentEvent>>) -> Self {
        Self { sources, recent, seen: BTreeSet::new(), root: None }
    }

    /// The request that begins a story. `guess` is the service that probably answered it.
    async fn request(&mut self, root: &str, guess: Option<&str>) -> Result<Option<Root>, StoreError> {
        let takes_commands = self.sources.catalog.services.iter().filter(|service| service.relays);
        for service in guess.into_iter().chain(takes_commands.map(|service| &*service.name)) {
            let found = story::of_command(self.sources.store, service, root).await?;
            let Some(Handling { key, at, events, .. }) = found else { continue };
            // The rest is the idempotency key, which may be the caller's secret.
            let route = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
            let events = self.caused(&events).await?;
            return Ok(Some(Root::Command { service: service.to_owned(), route, at, events }));
        }
        Ok(None)
    }

    async fn caused(&mut self, events: &[story::Caused]) -> Result<Vec<Node>, StoreError> {
        let mut nodes = Vec::new();
        for story::Caused { message, due } in events {
            let event = message.attributes.get(attribute::TYPE).cloned().unwrap_or_default();
            self.root =
                self.root.take().or_else(|| message.attributes.get(attribute::CORRELATION_ID).cloned());
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
                let catalog = self.sources.catalog;
                for service in &catalog.services {
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

    /// What a service did with an event; none if it does not subscribe to it. If the type is not known, only a receipt
    /// tells.
    async fn branch(
        &mut self,
        service: &ServiceEntry,
        event: &str,
        message_id: &str,
        attributes: &BTreeMap<String, String>,
        known: &[RecentEvent],
    ) -> Result<Option<Branch>, StoreError> {
        let fate_at = |name: &str| known.iter().find_map(|known| known.deliveries.get(name)).cloned();
        let Sources { catalog, names, store, now } = *self.sources;
        let publisher = attributes.get(attribute::SOURCE).and_then(|source| source.strip_prefix(OUR_SOURCE));
        let publisher = catalog.services.iter().find(|service| Some(&*service.name) == publisher);
        let may_handle = |owned: &Subscription| match (event, publisher) {
            ("", None) => true,
            ("", Some(publisher)) => publisher.publishes.iter().any(|event| owned.handles.contains(event)),
            (event, _) => owned.handles.iter().any(|handled| handled == event),
        };
        let may_deliver = |owned: &&Subscription| may_handle(owned) || fate_at(&owned.name).is_some();
        let mut found = None;
        for subscription in service.subscriptions.iter().filter(may_deliver) {
            let fate = fate_at(&subscription.name);
            let full = names.subscription(&subscription.name);
            let handling = story::of_message(store, &service.name, &full, message_id, attributes).await?;
            if handling.is_some() || fate.is_some() || !event.is_empty() {
                found = Some((handling, fate));
                break;
            }
        }
        let Some((handling, fate)) = found else { return Ok(None) };
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
        let claimed_until = rest.and_then(|rest| now.checked_add(rest).ok());
        let service = service.name.clone();
        Ok(Some(Branch { service, result, detail, handled_at, claimed_until, fate, events }))
    }
}
