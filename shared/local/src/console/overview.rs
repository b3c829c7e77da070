//! `/`: the live map, the counts that must agree, and what to try.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::{Query, State},
    response::Response,
};
use catalog::ServiceEntry;
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
pub(super) struct Isolated {
    service: Option<String>,
}

pub(super) async fn show(State(stack): State<Stack>, Query(isolated): Query<Isolated>) -> Response {
    let only = isolated.service.as_deref().filter(|name| stack.services.contains_key(*name));
    let balances = match &stack.extras.balances {
        Some(balances) => balances().await,
        None => Vec::new(),
    };
    let content = html! {
        h1.hidden { "Live map" }
        (guarantee(&balances))
        (maps(&stack, only))
        @if let Some(service) = only { (panel(&stack, service)) }
        (tries(&stack))
    };
    page(&stack, View::Map, "Map", &content)
}

fn guarantee(balances: &[Balance]) -> Markup {
    html! {
        section.guarantee data-part="guarantee" aria-label="Counts that must agree" hidden[balances.is_empty()] {
            @for balance in balances {
                @let (tone, verdict) = match balance.holds {
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

fn maps(stack: &Stack, only: Option<&str>) -> Markup {
    let running = |name: &str| stack.services.get(name).map_or(Running::Stopped, |process| process.running());
    let waiting = backlogs(stack);
    let backlog = |name: &str| waiting.get(name).copied().unwrap_or_default();
    let timers = timers(stack);
    let due = |name: &str| timers.get(name).cloned();
    // A second click ends the isolation.
    let link = |name: &str| if only == Some(name) { "/".to_owned() } else { format!("/?service={name}") };
    let look = Look { only, running: &running, backlog: &backlog, due: &due, link: &link };
    let systems: BTreeSet<&str> = stack.catalog.services.iter().map(|service| &*service.system).collect();
    let order = stack.catalog.services.iter().map(|service| &*service.system);
    let mut seen = BTreeSet::new();
    html! {
        section.maps aria-label="Map" {
            div.legend {
                span.key.handled { "handled" } span.key.retry { "retried" } span.key.reject { "dead letter" }
                span.key.waiting { "waiting" }
                @if let Some(service) = only { a href="/" { "Show all services, not only " (service) } }
                @else { span.hint { "Select a service to isolate it." } }
            }
            @for system in order.filter(|system| seen.insert(*system)) {
                @let graph = Graph::of(&stack.catalog, system);
                figure {
                    @if systems.len() > 1 { figcaption { (system) } }
                    div.scroll tabindex="0" role="region" aria-label=(format!("Map of {system}")) {
                        (draw(system, &graph, &Placed::of(&graph), &look))
                    }
                }
            }
        }
    }
}

/// What waits for each service. The emulator does not report it.
fn backlogs(stack: &Stack) -> BTreeMap<String, Backlog> {
    let Some(broker) = stack.broker() else { return BTreeMap::new() };
    broker.act(|topics, _| {
        let mut found = BTreeMap::<String, Backlog>::new();
        for ServiceEntry { name, subscriptions, .. } in &stack.catalog.services {
            let waiting = subscriptions.iter().map(|subscription| topics.backlog(&subscription.name).0).sum();
            found.entry(name.clone()).or_default().waiting = waiting;
        }
        for (service, _) in topics.dead_letters() {
            found.entry(service.to_owned()).or_default().dead += 1;
        }
        found
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

fn tries(stack: &Stack) -> Markup {
    let nothing_yet = stack.journal.last() == 0;
    html! {
        section.tries data-part="tries" aria-label="Try it" {
            h2 { @if nothing_yet { "Nothing has happened yet. Begin here:" } @else { "Try it" } }
            div.cards {
                @for each in &*stack.extras.tries {
                    div.card {
                        h3 { (each.label) }
                        p { (each.about) }
                        (action(&format!("/_local/try/{}", each.id), each.label, "primary"))
                        (folded_command(&command_of(stack, each)))
                    }
                }
            }
        }
    }
}

/// The command line that makes the next request of this kind.
fn command_of(stack: &Stack, each: &Try) -> String {
    let url = format!("{}{}", stack.base(), each.path);
    format!("curl -X POST {url} -H 'Content-Type: application/json' -d {}", quoted(&each.next_body(stack)))
}
