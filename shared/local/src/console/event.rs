//! `/_local/events/<message id>`: one event with its data, its attributes, its deliveries and its causal tree.

use axum::{
    extract::{Path, State},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, html};
use pushbox::{Problem, wire::attribute};
use serde_json::json;

use super::{
    badges::{action, badge, folded_command, pretty, quoted, span, time},
    events::recent,
    layout::{View, page},
    story::shown,
    tree::{self, Sources},
};
use crate::{
    Stack,
    broker::{RecentEvent, event_type},
    state::beginning,
};

pub(super) async fn show(State(stack): State<Stack>, Path(id): Path<String>) -> Result<Response, Problem> {
    let recent = recent(&stack);
    let found = recent.iter().find(|event| event.message.id() == id);
    let event = found.ok_or_else(|| Problem::not_found(format_args!("event in memory: {id}")))?;
    let message = &event.message;
    let name = event_type(message).unwrap_or_else(|| "no type".to_owned());
    let story = match &stack.extras.store {
        Some(store) => {
            let sources = Sources {
                catalog: &stack.catalog,
                names: &stack.extras.names,
                store: &**store,
                now: stack.now(),
            };
            Some(tree::of_event(&sources, &recent, event).await)
        }
        None => None,
    };
    let data = beginning(&message.data);
    let content = html! {
        div.heading {
            p.back { a href="/_local/events" { "Events" } }
            h1 { (name) }
            p { "Published at " (time(message.publish_time)) " on " (message.topic) ". Message " code { (id) } "." }
        }
        (deliver(&stack, event))
        div.columns {
            section data-part="story" {
                h2 { "Causal tree" }
                @match &story {
                    Some(Ok(root)) => (shown(root, &id, stack.extras.clock.is_some())),
                    Some(Err(error)) => p.problem { "The receipts cannot be read: " (error) },
                    None => p { "This stack has no receipts to read." },
                }
            }
            section {
                h2 { "Data" }
                pre { (pretty(&data)) }
                @if data.len() < message.data.len() { p.hint { "The first " (data.len()) " of " (message.data.len()) " bytes." } }
                h2 { "Attributes" }
                @if message.attributes.is_empty() { p.hint { "None: somebody published this message by hand." } }
                dl.attributes { @for (name, value) in &message.attributes { dt { (name) } dd { (value) } } }
            }
        }
        (deliveries(&stack, event))
    };
    Ok(page(&stack, View::Events, &name, &content))
}

/// The buttons that deliver the event again.
fn deliver(stack: &Stack, event: &RecentEvent) -> Markup {
    let message = &event.message;
    if stack.broker().is_none() {
        let data = STANDARD.encode(&message.data);
        let body = json!({ "messages": [{ "data": data, "attributes": message.attributes }] });
        let url = format!("{}/v1/projects/local/topics/{}:publish", stack.base(), message.topic);
        let command =
            format!("curl {url} -H 'Content-Type: application/json' -d {}", quoted(&body.to_string()));
        return html! { section.card.again { p { "This publishes it again:" } (folded_command(&command)) } };
    }
    let path = format!("/_local/events/{}/deliver", message.id());
    html! {
        section.card.again aria-label="Deliver again" {
            @if !event.deliveries.is_empty() {
                (action(&path, "Deliver again", ""))
                form method="post" action=(path) data-action {
                    input type="hidden" name="copies" value="2";
                    button { "Deliver twice at once" }
                }
                form method="post" action=(path) data-action {
                    label { "Only to "
                        select name="subscription" {
                            @for name in event.deliveries.keys() { option value=(name) { (stack.owner(name).unwrap_or(name)) } }
                        }
                    }
                    button { "Deliver" }
                }
            }
            a.button href=(format!("/_local/send?from={}", message.id())) { "Edit and send" }
            @if !event.deliveries.is_empty() { (folded_command(&stack.curl(&path, &["copies=2"]))) }
        }
    }
}

/// Every attempt of every delivery.
fn deliveries(stack: &Stack, event: &RecentEvent) -> Markup {
    html! {
        section data-part="deliveries" {
            h2 { "Deliveries" }
            @if event.deliveries.is_empty() { p.hint { "No subscription receives this event." } }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Deliveries" { table {
                    thead { tr { th { "Subscriber" } th { "Attempt" } th { "Began" } th { "Took" } th { "Result" } } }
                    tbody {
                        @for (subscription, fate) in &event.deliveries {
                            @if fate.history.is_empty() {
                                tr { td { (stack.owner(subscription).unwrap_or(subscription)) } td {} td {} td {} td { (badge(fate.result())) } }
                            }
                            @for attempt in &fate.history {
                                tr {
                                    td { (stack.owner(subscription).unwrap_or(subscription)) }
                                    td { (attempt.number) }
                                    td { (time(attempt.began)) }
                                    td { @if let Some(ended) = attempt.ended { (span(ended.duration_since(attempt.began))) } }
                                    td { (badge(attempt.result.unwrap_or("in flight"))) @if let Some(failure) = &attempt.failure { " " small { (failure) } } }
                                }
                            }
                        }
                    }
                } }
            }
            @if let Some(trace) = event.message.attributes.get(attribute::TRACEPARENT) { p.hint { "Trace " code { (trace) } } }
        }
    }
}
