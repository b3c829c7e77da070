//! The map, the services and the stories of events.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    extract::{Query, State},
    response::Response,
};
use catalog::ServiceEntry;
use jiff::SignedDuration;
use maud::{Markup, html};
use redrive::Backlog;
use serde::Deserialize;

use super::{Console, sought::Sought};
use crate::console::shared::{
    Look, View, Waiting, chosen_system, empty, figure, heading, of_key, shown, span, systems, tabs,
};

/// The backlogs by subscription, or why they are not known. None if nobody reports them.
pub(super) type Backlogs = Option<Result<BTreeMap<String, Backlog>, String>>;

#[derive(Deserialize)]
pub(super) struct Chosen {
    system: Option<String>,
    /// A service that everything else steps back from.
    service: Option<String>,
}

pub(super) async fn map(State(console): State<Console>, Query(chosen): Query<Chosen>) -> Response {
    let catalog = &console.deployment.catalog;
    let only = catalog.services.iter().find(|entry| Some(&entry.name) == chosen.service.as_ref());
    let isolated = only.map(|entry| entry.name.as_str());
    let systems = systems(catalog);
    let system = chosen_system(catalog, isolated, chosen.system.as_deref());
    let backlogs = console.backlogs().await;
    let waiting: BTreeMap<String, Waiting> = catalog
        .services
        .iter()
        .map(|entry| {
            (
                entry.name.clone(),
                Waiting {
                    waiting: messages(entry, &backlogs).map(count),
                    dead: dead(entry, &backlogs).map(count),
                },
            )
        })
        .collect();
    let whole = format!("/?system={system}");
    let look = Look {
        only: isolated,
        running: &|_| None,
        backlog: &|name| waiting.get(name).copied().unwrap_or_default(),
        due: &|_| None,
        // A second click ends the isolation.
        link: &|name| if isolated == Some(name) { whole.clone() } else { format!("/?service={name}") },
        event_link: &|_| None,
    };
    let content = html! {
        h1.hidden { "Map" }
        @if systems.len() > 1 { (tabs(catalog, &systems, system, &waiting)) }
        (source(&backlogs))
        @if let Some(entry) = only { section.card.system { (service(&console, entry, &backlogs)) } }
        (figure(catalog, system, &look, if backlogs.is_some() { &[("waiting", "waiting"), ("reject", "dead letter")] } else { &[] }))
    };
    console.page(View::Map, "Map", &content)
}

pub(super) async fn services(State(console): State<Console>) -> Response {
    let catalog = &console.deployment.catalog;
    let backlogs = console.backlogs().await;
    let content = html! {
        (heading("Services", html! { "The services of the catalog, and what waits for each." }))
        (source(&backlogs))
        @for system in systems(catalog) {
            section.card.system aria-label=(format!("Services of {system}")) {
                h2 { (system) }
                @for entry in catalog.services.iter().filter(|entry| entry.system == system) { (service(&console, entry, &backlogs)) }
            }
        }
    };
    console.page(View::Services, "Services", &content)
}

/// Where the numbers come from.
fn source(backlogs: &Backlogs) -> Markup {
    html! {
        @match backlogs {
            None => p.hint { "The emulators do not report what waits." },
            Some(Ok(_)) => p.hint { "The numbers of waiting messages are those of Cloud Monitoring. They are up to four minutes old." },
            Some(Err(error)) => p.problem { "What waits is unknown. " (error) },
        }
    }
}

fn service(console: &Console, entry: &ServiceEntry, backlogs: &Backlogs) -> Markup {
    let ServiceEntry { name, about, subscriptions, publishes, dead_letter_topic, .. } = entry;
    let prefix = &console.deployment.names.prefix;
    html! {
        article.listed id=(name) {
            div {
                h3 { a href=(format!("/?service={name}")) { (name) } }
                p { "It " (about) "." }
                @if !publishes.is_empty() { p.hint { "It publishes " (publishes.join(", ")) "." } }
            }
            @if subscriptions.is_empty() { p.hint { "It has no subscription." } }
            @else {
                div.scroll tabindex="0" role="region" aria-label=(format!("Subscriptions of {name}")) { table.stacks {
                    thead { tr { th { "Subscription" } th { "Handles" } th { "Waiting" } th { "Oldest" } } }
                    tbody {
                        @for subscription in subscriptions { (row(&format!("{prefix}{}", subscription.name), &subscription.handles.join(", "), backlog(backlogs, &subscription.name))) }
                        (row(&format!("{prefix}{dead_letter_topic}"), "dead letters", backlog(backlogs, dead_letter_topic)))
                    }
                } }
            }
        }
    }
}

fn row(name: &str, handles: &str, backlog: Option<Backlog>) -> Markup {
    html! {
        tr {
            td data-label="Subscription" { code { (name) } }
            td data-label="Handles" { (handles) }
            td data-label="Waiting" { @if let Some(backlog) = backlog { (backlog.messages) } @else { "–" } }
            td data-label="Oldest" { @if let Some(Backlog { oldest: Duration::ZERO, .. }) | None = backlog { "–" } @else if let Some(backlog) = backlog { (age(backlog.oldest)) } }
        }
    }
}

fn age(oldest: Duration) -> String {
    span(SignedDuration::try_from(oldest).unwrap_or(SignedDuration::MAX))
}

fn backlog(backlogs: &Backlogs, subscription: &str) -> Option<Backlog> {
    backlogs.as_ref()?.as_ref().ok()?.get(subscription).copied()
}

/// The messages that wait for a service, if a figure of a subscription is known.
fn messages(entry: &ServiceEntry, backlogs: &Backlogs) -> Option<u64> {
    let of = |subscription: &catalog::Subscription| backlog(backlogs, &subscription.name);
    let known = entry.subscriptions.iter().filter_map(of).map(|backlog| backlog.messages);
    known.reduce(|sum, messages| sum + messages)
}

/// The dead letters of a service, if their number is known.
pub(super) fn dead(entry: &ServiceEntry, backlogs: &Backlogs) -> Option<u64> {
    backlog(backlogs, &entry.dead_letter_topic).map(|backlog| backlog.messages)
}

fn count(messages: u64) -> usize {
    usize::try_from(messages).unwrap_or(usize::MAX)
}

#[derive(Deserialize)]
pub(super) struct Pasted {
    #[serde(default)]
    key: String,
}

pub(super) async fn events(State(console): State<Console>, Query(Pasted { key }): Query<Pasted>) -> Response {
    let Sought { key: sought, event_type, root } = Sought::of(&key);
    let found = match &*sought {
        "" => None,
        sought => Some(of_key(&console.sources(), sought, event_type.as_deref(), root.as_deref()).await),
    };
    let content = html! {
        (heading("Events", html! { "What an event has caused, read from the receipts of the services. No tracing is needed." }))
        form.filters method="get" action="/_local/events" role="search" {
            label { "Log line, key or id"
                input type="search" name="key" value=(key.trim()) placeholder="eventType=user.created key=//pushbox/user-service 5f0c…" aria-describedby="about-key";
            }
            button.primary { "Find" }
        }
        p.hint id="about-key" {
            "Paste the log line of a delivery, or its " code { "key" } ". With the line, or with " code { "eventType=…" } " before the key, "
            "the tree also lists the services that did not handle the event. With the " code { "ce-correlationid" } " of an event, "
            "the tree begins with the request. Receipts are kept for 45 days."
        }
        section data-part="story" aria-label="Causal tree" {
            @match &found {
                None => (empty("Which event?", html! { "Copy a log line, or open a dead letter and follow its story." })),
                Some(Ok(Some(root))) => { h2 { "Causal tree" } (shown(root, "", false)) },
                Some(Ok(None)) => (empty("No receipt", html! {
                    "No service has a receipt with this key. The event may be new, on its way, or older than its receipts, or each service rejected it: see "
                    a href="/_local/dead-letters" { "Dead letters" } "."
                })),
                Some(Err(error)) => { p.problem { "The receipts cannot be read, because Firestore does not answer as it should." } p.hint { (error) } },
            }
        }
    };
    console.page(View::Events, "Events", &content)
}
