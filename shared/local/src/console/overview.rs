//! `/`: the live map of a system, its counts that must agree, and what to try.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use axum::{
    extract::{Query, State},
    response::Response,
};
use catalog::{Catalog, ServiceEntry};
use jiff::Timestamp;
use maud::{Markup, html};
use pushbox::audit::{Balance, MOST};
use serde::Deserialize;

use super::{
    badges::{action, folded_command, quoted, span},
    extras::Try,
    layout::{View, page},
    map::{Backlog, Graph, Look, Placed, draw},
    services::controls,
};
use crate::{Stack, process::Running};

#[derive(Deserialize)]
pub(super) struct Chosen {
    system: Option<String>,
    /// A service that everything else steps back from.
    service: Option<String>,
}

pub(super) async fn show(State(stack): State<Stack>, Query(chosen): Query<Chosen>) -> Response {
    let only = chosen.service.as_deref().filter(|name| stack.services.contains_key(*name));
    let systems = systems(&stack.catalog);
    let system = chosen_system(&stack.catalog, only, chosen.system.as_deref());
    let balances = match &stack.extras.balances {
        Some(balances) => balances().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot count the documents");
            Vec::new()
        }),
        None => Vec::new(),
    };
    let of_system = |(_, balance): &(&str, Balance)| balance.clone();
    let balances: Vec<_> = balances.iter().filter(|(of, _)| *of == system).map(of_system).collect();
    let waiting = backlogs(&stack);
    let content = html! {
        h1.hidden { "Live map" }
        @if systems.len() > 1 { (tabs(&stack.catalog, &systems, system, &waiting)) }
        div.begin {
            (tries(&stack, system))
            (guarantee(&balances))
        }
        @if stack.broker().is_none() { p.hint { "The emulators do not report what waits. The page " a href="/_local/dead-letters" { "Dead letters" } " counts the dead letters." } }
        @if let Some(service) = only { (panel(&stack, service)) }
        (map(&stack, system, only, &waiting))
    };
    page(&stack, View::Map, "Map", &content)
}

/// One tab for each system. The scripts mark a tab when one of its services or events moves.
pub(crate) fn tabs(
    catalog: &Catalog,
    systems: &[&str],
    chosen: &str,
    waiting: &BTreeMap<String, Backlog>,
) -> Markup {
    html! {
        nav.tabs aria-label="Systems" data-part="tabs" {
            ul {
                @for system in systems {
                    @let services: Vec<_> = catalog.services.iter().filter(|service| service.system == *system).collect();
                    @let nodes: BTreeSet<&str> = services.iter().flat_map(|service| service.publishes.iter().chain([&service.name])).map(String::as_str).collect();
                    @let of = |count: fn(&Backlog) -> Option<usize>| services.iter().filter_map(|service| waiting.get(&service.name)).filter_map(count).sum::<usize>();
                    @let (waits, dead) = (of(|backlog| backlog.waiting), of(|backlog| backlog.dead));
                    li {
                        a href=(format!("/?system={system}")) aria-current=[(*system == chosen).then_some("page")]
                            data-nodes=(nodes.into_iter().collect::<Vec<_>>().join(" ")) {
                            (system)
                            @if waits > 0 { span.count.warn title="waiting" { (waits) } }
                            @if dead > 0 { span.count.bad title="dead letters" { (dead) } }
                        }
                    }
                }
            }
        }
    }
}

fn guarantee(balances: &[Balance]) -> Markup {
    html! {
        section.guarantee data-part="guarantee" aria-label="Counts that must agree" hidden[balances.is_empty()] {
            @for balance in balances {
                @let is_empty = balance.terms.iter().all(|(_, count)| *count == 0);
                @let (tone, verdict) = match balance.holds {
                    _ if is_empty => ("plain", "no data yet"),
                    Some(true) => ("good", "holds"),
                    Some(false) => ("warn", "not yet"),
                    None => ("plain", "not compared"),
                };
                div.balance.(tone) {
                    div.terms {
                        @for (index, (name, count)) in balance.terms.iter().enumerate() {
                            span.term { @if index > 0 { span.sign { @if balance.is_sum && index > 1 { "+" } @else { "=" } } } b { (count) @if *count >= MOST as u64 { "+" } } small { (name) } }
                        }
                    }
                    p { (balance.claim) " " span.badge.(tone) { (verdict) } }
                }
            }
        }
    }
}

fn map(stack: &Stack, system: &str, only: Option<&str>, waiting: &BTreeMap<String, Backlog>) -> Markup {
    let running =
        |name: &str| Some(stack.services.get(name).map_or(Running::Stopped, |process| process.running()));
    let backlog = |name: &str| waiting.get(name).copied().unwrap_or_default();
    let timers = timers(stack);
    let due = |name: &str| timers.get(name).cloned();
    let whole = format!("/?system={system}");
    // A second click ends the isolation.
    let link = |name: &str| if only == Some(name) { whole.clone() } else { format!("/?service={name}") };
    let event_link = |name: &str| Some(format!("/_local/events?type={name}"));
    let look =
        Look { only, running: &running, backlog: &backlog, due: &due, link: &link, event_link: &event_link };
    let keys =
        [("handled", "handled"), ("retry", "retried"), ("reject", "dead letter"), ("waiting", "waiting")];
    figure(&stack.catalog, system, &look, &keys)
}

/// The map of a system, and the meaning of its colours: their classes and words.
pub(crate) fn figure(catalog: &Catalog, system: &str, look: &Look<'_>, keys: &[(&str, &str)]) -> Markup {
    let graph = Graph::of(catalog, system);
    html! {
        section.maps aria-label="Map" {
            figure {
                div.scroll tabindex="0" role="region" aria-label=(format!("Map of {system}")) {
                    (draw(system, &graph, &Placed::of(&graph), look))
                }
                figcaption.legend {
                    @for (class, word) in keys { span class=(format!("key {class}")) { (word) } }
                    @if let Some(service) = look.only { a href=(format!("/?system={system}")) { "Show all services, not only " (service) } }
                    @else { span.hint { "Select a service to isolate it." } }
                }
            }
        }
    }
}

/// What waits for each service. Nothing is known on the emulators: they do not report what waits, and to count the dead
/// letters, one must take them for a moment.
fn backlogs(stack: &Stack) -> BTreeMap<String, Backlog> {
    let Some(broker) = stack.broker() else { return BTreeMap::new() };
    broker.act(|topics, _| {
        let of_service = |ServiceEntry { name, subscriptions, dead_letter_topic, .. }: &ServiceEntry| {
            let waiting = subscriptions.iter().map(|subscription| topics.backlog(&subscription.name).0).sum();
            let (held, leased) = topics.backlog(dead_letter_topic);
            (name.clone(), Backlog { waiting: Some(waiting), dead: Some(held + leased) })
        };
        stack.catalog.services.iter().map(of_service).collect()
    })
}

/// The delayed events of each type: how many, and in how long the first one is due.
fn timers(stack: &Stack) -> BTreeMap<String, (usize, String)> {
    let Some(tasks) = &stack.tasks else { return BTreeMap::new() };
    let (found, now) = tasks.with(|queues, now| (queues.timers(), now));
    let mut first = BTreeMap::<String, (usize, Timestamp)>::new();
    for (event, at) in found {
        let (count, earliest) = first.entry(event).or_insert((0, at));
        *count += 1;
        *earliest = at.min(*earliest);
    }
    first.into_iter().map(|(event, (count, at))| (event, (count, span(at.duration_since(now))))).collect()
}

/// The isolated service, with its controls.
fn panel(stack: &Stack, service: &str) -> Markup {
    let about = stack.catalog.services.iter().find(|entry| entry.name == service).map(|entry| &*entry.about);
    html! {
        section.card.panel data-part="panel" {
            div { h2 { (service) } p { "This service " (about.unwrap_or_default()) "." } }
            (controls(stack, service))
            nav {
                a href=(format!("/_local/events?service={service}")) { "Its events" }
                a href=(format!("/{service}")) { "Its routes" }
                a href=(format!("/_local/services#{service}")) { "Its faults" }
            }
        }
    }
}

fn tries(stack: &Stack, system: &str) -> Markup {
    let nothing_yet = stack.journal.last() == 0;
    let tries: Vec<_> = stack.extras.tries.iter().filter(|each| each.system == system).collect();
    html! {
        section.tries data-part="tries" aria-label="Try it" hidden[tries.is_empty()] {
            h2 { @if nothing_yet { "Nothing has happened yet. Begin here:" } @else { "Try it" } }
            ul {
                @for (index, each) in tries.into_iter().enumerate() {
                    li.try {
                        (action(&format!("/_local/try/{}", each.id), each.label, if index == 0 { "primary" } else { "" }))
                        div { p { (each.about) } (folded_command(&command_of(stack, each))) }
                    }
                }
            }
        }
    }
}

/// The command line that makes the next request of this kind.
fn command_of(stack: &Stack, each: &Try) -> String {
    let number = stack.extras.tried.load(Ordering::Relaxed) + 1;
    let post = |path: &str, body: &str| {
        let body = quoted(&Try::filled(body, number));
        format!("curl -X POST {}{path} -H 'Content-Type: application/json' -d {body}", stack.base())
    };
    let request = post(each.path, each.body);
    let Some((path, account)) = each.account else { return request };
    let token = "grep -o '\"accessToken\":\"[^\"]*' | cut -d '\"' -f 4";
    format!("token=$({} | {token}); {request} -H \"Authorization: Bearer $token\"", post(path, account))
}

/// The system of the isolated service, the system that was chosen, or else the first one.
pub(crate) fn chosen_system<'a>(catalog: &'a Catalog, only: Option<&str>, system: Option<&str>) -> &'a str {
    let isolated = catalog.services.iter().find(|service| Some(&*service.name) == only);
    let named = isolated.map(|service| &*service.system).or(system);
    let found = catalog.services.iter().find(|service| Some(&*service.system) == named);
    found.or(catalog.services.first()).map(|service| &*service.system).unwrap_or_default()
}

/// The systems of the catalog, in its order.
pub(crate) fn systems(catalog: &Catalog) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let systems = catalog.services.iter().map(|service| &*service.system);
    systems.filter(|system| seen.insert(*system)).collect()
}
