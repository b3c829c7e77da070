//! `/_local/events`: the recent events with the result of each delivery. The filters are in the URL.

use std::collections::BTreeSet;

use axum::{
    extract::{Query, State},
    response::Response,
};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    badges::{Rows, action, empty, time, tone},
    layout::{View, heading, page},
};
use crate::{
    Stack,
    broker::{Fate, RecentEvent, event_type},
    stack::Transport,
    state::events_of,
};

/// How many events a page lists.
const MOST_ROWS: usize = 100;

/// The results that can be filtered by.
const RESULTS: [&str; 9] =
    ["handled", "duplicate", "ignored", "retry", "reject", "dead letter", "waiting", "in flight", "acked"];

#[derive(Default, Deserialize)]
pub(super) struct Filter {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    text: String,
    /// Only the last minutes.
    #[serde(default)]
    minutes: String,
    #[serde(default)]
    page: String,
}

pub(super) async fn show(State(stack): State<Stack>, Query(filter): Query<Filter>) -> Response {
    let events = recent(&stack);
    let total = events.len();
    let now = stack.now();
    let found: Vec<_> = events.iter().filter(|event| filter.passes(event, &stack, now)).collect();
    let rows = Rows::new(&filter.page, MOST_ROWS, found.len());
    let replays = stack.extras.replays.all();
    let content = html! {
        (heading("Events", html! { "Every event with the result of each delivery, the newest first." }))
        (filters(&stack, &filter))
        section aria-label="Events" data-part="log" {
            div.numbers {
                span { b { (found.len()) } " of " (total) " events" }
                @if total > 0 { (action("/_local/events/clear", "Clear", "quiet")) }
            }
            @if total == 0 {
                (empty("No events yet", html! { a href="/" { "Sign up, order a teapot or publish poison" } ", and each event appears here." }))
            } @else if found.is_empty() {
                (empty("No event matches", html! { a href="/_local/events" { "Remove the filters" } "." }))
            } @else {
                ol.log data-list { @for event in rows.of(&found) { (row(&stack, event, replays.contains(&event.message.number))) } }
                (rows.links("/_local/events", &filter.pairs()))
            }
        }
    };
    page(&stack, View::Events, "Events", &content)
}

/// The recent events, the newest first.
pub(super) fn recent(stack: &Stack) -> Vec<RecentEvent> {
    match &stack.transport {
        Transport::Broker(broker) => events_of(broker),
        Transport::Emulator(_, pushes) => pushes.recent(),
    }
}

impl Filter {
    fn pairs(&self) -> [(&str, &str); 5] {
        let Self { r#type, service, outcome, text, minutes, page: _ } = self;
        [("type", r#type), ("service", service), ("outcome", outcome), ("text", text), ("minutes", minutes)]
    }

    fn passes(&self, event: &RecentEvent, stack: &Stack, now: Timestamp) -> bool {
        let Self { r#type, service, outcome, text, minutes, page: _ } = self;
        let of_service = |name: &String| stack.owner(name) == Some(service.as_str());
        let minutes: Option<i64> = minutes.parse().ok();
        let age = now.duration_since(event.message.publish_time);
        let has_fate = |(name, fate): (&String, &Fate)| {
            (service.is_empty() || of_service(name)) && (outcome.is_empty() || fate.result() == outcome)
        };
        (r#type.is_empty() || event_type(&event.message).as_deref() == Some(r#type))
            && (service.is_empty() && outcome.is_empty() || event.deliveries.iter().any(has_fate))
            && (text.is_empty() || contains(event, text))
            && minutes.is_none_or(|minutes| age <= SignedDuration::from_mins(minutes))
    }
}

/// Whether the text is in the data or in an attribute.
fn contains(event: &RecentEvent, text: &str) -> bool {
    let text = text.to_lowercase();
    let holds = |value: &str| value.to_lowercase().contains(&text);
    event.message.id() == text
        || event.message.attributes.values().any(|value| holds(value))
        || holds(&String::from_utf8_lossy(&event.message.data))
}

fn filters(stack: &Stack, filter: &Filter) -> Markup {
    let types: BTreeSet<&str> = stack.catalog.events.iter().map(|event| &*event.r#type).collect();
    let services = stack.catalog.services.iter().filter(|service| !service.subscriptions.is_empty());
    let choice = |name: &str, label: &str, all: &str, chosen: &str, options: Vec<(&str, String)>| {
        html! {
            label { (label)
                select name=(name) {
                    option value="" { (all) }
                    @for (value, text) in options { option value=(value) selected[value == chosen] { (text) } }
                }
            }
        }
    };
    let plain = |values: &mut dyn Iterator<Item = &'static str>| -> Vec<(&str, String)> {
        values.map(|value| (value, value.to_owned())).collect()
    };
    let types = types.into_iter().map(|name| (name, name.to_owned())).collect();
    let services = services.map(|service| (&*service.name, service.name.clone())).collect();
    let minutes = [("1", "1 minute"), ("5", "5 minutes"), ("60", "1 hour")];
    let minutes = minutes.map(|(value, text)| (value, format!("the last {text}"))).to_vec();
    html! {
        form.filters method="get" action="/_local/events" role="search" data-filters {
            label { "Text" input type="search" name="text" value=(filter.text) placeholder="Data or attributes"; }
            (choice("type", "Type", "every type", &filter.r#type, types))
            (choice("service", "Service", "every service", &filter.service, services))
            (choice("outcome", "Outcome", "every outcome", &filter.outcome, plain(&mut RESULTS.into_iter())))
            (choice("minutes", "Time", "any time", &filter.minutes, minutes))
            button data-without-script { "Filter" }
        }
    }
}

fn row(stack: &Stack, event: &RecentEvent, is_replay: bool) -> Markup {
    let message = &event.message;
    let data = String::from_utf8_lossy(&message.data[..message.data.len().min(300)]);
    html! {
        li data-key=(message.id()) {
            a.row href=(format!("/_local/events/{}", message.id())) {
                (time(message.publish_time))
                span.type {
                    strong { (event_type(message).as_deref().unwrap_or("no type")) }
                    @if is_replay { " " span.badge.accent { "replay" } }
                }
                span.data { (data) }
                span.fates {
                    @for (subscription, fate) in &event.deliveries {
                        @let result = fate.result();
                        span class=(format!("fate {}", tone(result))) {
                            (stack.owner(subscription).unwrap_or(subscription)) " " b { (result) }
                            @if fate.attempts > 1 { " ×" (fate.attempts) }
                        }
                    }
                    @if event.deliveries.is_empty() { span.fate.plain { "no subscription receives it" } }
                }
            }
        }
    }
}

impl Stack {
    /// The service that owns a subscription.
    pub(super) fn owner(&self, subscription: &str) -> Option<&str> {
        let owns = |service: &&catalog::ServiceEntry| {
            service.subscriptions.iter().any(|owned| owned.name == subscription)
        };
        self.catalog.services.iter().find(owns).map(|service| &*service.name)
    }

    /// The time by the stack's clock.
    pub(crate) fn now(&self) -> Timestamp {
        let ahead = self.extras.clock.as_ref().map(pushbox::Offset::get).unwrap_or_default();
        Timestamp::now().saturating_add(ahead).unwrap_or(Timestamp::MAX)
    }
}
