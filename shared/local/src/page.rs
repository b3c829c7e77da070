//! The page at `/`: plain HTML. Maud escapes every value.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use pushbox::Route;

use crate::{
    Mail,
    broker::{Fate, MOST_BYTES, MOST_EVENT_BYTES, MOST_EVENTS, MOST_PULLED, MOST_UNACKED, Outcome, Stage},
    state::{CarriedBy, DeadLetter, EventState, ServiceState, State},
};

const STYLE: &str = include_str!("page.css");

pub(crate) fn render(state: &State) -> String {
    let on_emulator = state.carried_by == CarriedBy::Emulator;
    let body = html! {
        header { h1 { "pushbox" } p { "The local stack. " a href="/" { "Refresh" } " · " a href="/_local/state" { "JSON" } } }
        main {
            (section("Services", Some(state.services.len()), "", services(&state.services)))
            (section("Recent events", Some(state.events.len()), if on_emulator { "Only events that Google's emulator has pushed to this process. The emulator does not report its other messages." } else { "" }, events(&state.events)))
            (section("Dead letters", state.dead_letter_count, "", dead_letters(&state.dead_letters)))
            (section("Mails", Some(state.mail_count), "", mails(&state.mails)))
            footer { small { (kept(on_emulator)) } }
        }
    };
    document("pushbox local stack", &body)
}

/// The routes of a service.
pub(crate) fn render_routes(service: &str, about: &str, routes: &[Route]) -> String {
    let body = html! {
        header { h1 { (service) } p { "This service " (about) ". " a href="/" { "All services" } } }
        main {
            table {
                thead { tr { th { "Method" } th { "Path" } } }
                tbody {
                    @for route in routes {
                        @let path = format!("/{service}{}", route.path);
                        tr {
                            td { (route.method) }
                            // A path with a parameter does not work as a link.
                            td { @if route.method == "GET" && !path.contains('{') { a href=(path) { (path) } } @else { (path) } }
                        }
                    }
                }
            }
        }
    };
    document(service, &body)
}

fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// An unknown count is shown as `?`, not as 0.
fn section(title: &str, count: Option<usize>, note: &str, content: Markup) -> Markup {
    html! {
        section {
            h2 { (title) " " span.count { @if let Some(count) = count { (count) } @else { "?" } } }
            @if !note.is_empty() { p.none { (note) } }
            @match count {
                Some(0) => p.none { "None." },
                Some(_) => table { (content) },
                None => { p.none { "The total is unknown." } table { (content) } }
            }
        }
    }
}

fn kept(on_emulator: bool) -> String {
    let mib = |bytes: usize| bytes >> 20;
    let events =
        format!("The stack keeps the last {MOST_EVENTS} events, up to {} MiB.", mib(MOST_EVENT_BYTES));
    if on_emulator {
        return events;
    }
    let room = mib(MOST_BYTES);
    format!(
        "{events} It keeps up to {MOST_PULLED} dead letters and {room} MiB for each service, then drops the oldest. \
         A subscription holds up to {MOST_UNACKED} messages and {room} MiB; beyond that, publishing fails."
    )
}

fn services(services: &[ServiceState]) -> Markup {
    html! {
        thead { tr { th { "Service" } th { "System" } th { "State" } th { "Waiting" } th { "In flight" } th {} } }
        tbody {
            @for service in services {
                @let waiting = service.subscriptions.iter().map(|subscription| subscription.waiting).sum::<Option<usize>>();
                @let in_flight = service.subscriptions.iter().map(|subscription| subscription.in_flight).sum::<Option<usize>>();
                @let (class, state, other) = if service.running { ("good", "up", "stop") } else { ("bad", "down", "start") };
                tr {
                    td { strong { a href={ "/" (service.name) } { (service.name) } } br; small { (service.about) } }
                    td { (service.system) }
                    td { span.badge.(class) { (state) } }
                    td { @if let Some(waiting) = waiting { (waiting) } @else { "?" } }
                    td { @if let Some(in_flight) = in_flight { (in_flight) } @else { "?" } }
                    td {
                        form method="post" action={ "/_local/services/" (service.name) "/" (other) } {
                            button { (other) }
                        }
                    }
                }
            }
        }
    }
}

fn events(events: &[EventState]) -> Markup {
    html! {
        thead { tr { th { "Published" } th { "Event" } th { "Topic" } th { "Deliveries" } } }
        tbody {
            @for event in events {
                tr {
                    td { (time(event.published_at)) }
                    td {
                        (event.r#type.as_deref().unwrap_or("?")) br; small { "message " (event.message_id) }
                        (message(&event.attributes, &event.data, event.data_bytes))
                    }
                    td { (event.topic) }
                    td {
                        @for (subscription, fate) in &event.deliveries {
                            @let (class, label) = label(fate);
                            div {
                                span.badge.(class) { (label) } " " (subscription)
                                @if fate.attempts > 1 { small { ", attempt " (fate.attempts) } }
                                @if let Some(failure) = &fate.failure { small { ", " (failure) } }
                            }
                        }
                        @if event.deliveries.is_empty() { small { "no subscription receives it" } }
                    }
                }
            }
        }
    }
}

/// A message's data and attributes. The attributes include the event's ids and trace.
fn message(attributes: &BTreeMap<String, String>, data: &str, bytes: usize) -> Markup {
    html! {
        details {
            summary { "Message" }
            pre { (data) }
            @if data.len() < bytes { small { "The first " (data.len()) " of " (bytes) " bytes." } }
            dl { @for (name, value) in attributes { dt { (name) } dd { (value) } } }
        }
    }
}

/// Only a handled event is green: an ignored event may have a misspelled type.
fn label(fate: &Fate) -> (&'static str, &'static str) {
    match (fate.stage, fate.outcome) {
        (Stage::Waiting, _) => ("plain", "waiting"),
        (Stage::Delivered, _) => ("plain", "delivered"),
        (Stage::Acked, Some(Outcome::Handled)) => ("good", "handled"),
        (Stage::Acked, Some(Outcome::Duplicate)) => ("plain", "duplicate"),
        (Stage::Acked, Some(Outcome::Ignored)) => ("warn", "ignored"),
        (Stage::Acked, _) => ("plain", "acked"),
        (Stage::Rejected, _) => ("bad", "rejected"),
        (Stage::Retrying, Some(Outcome::Panic)) => ("bad", "panicked"),
        (Stage::Retrying, _) => ("warn", "retrying"),
        (Stage::DeadLettered, _) => ("bad", "dead letter"),
    }
}

fn dead_letters(letters: &[DeadLetter]) -> Markup {
    html! {
        thead { tr { th { "Parked" } th { "Service" } th { "Event" } th { "Reason" } } }
        tbody {
            @for letter in letters {
                tr {
                    td { (time(letter.published_at)) }
                    td { (letter.service) }
                    td { (letter.r#type.as_deref().unwrap_or("?")) br; small { "message " (letter.message_id) } }
                    td {
                        (letter.reason)
                        (message(&letter.attributes, &letter.data, letter.data_bytes))
                    }
                }
            }
        }
    }
}

fn mails(mails: &[Mail]) -> Markup {
    html! {
        thead { tr { th { "Sent" } th { "To" } th { "Mail" } } }
        tbody {
            @for mail in mails {
                tr {
                    td { (time(mail.sent_at)) }
                    td { (mail.to) }
                    td {
                        details { summary { (mail.subject) } pre { (mail.text) } }
                        @if !mail.html.is_empty() { a href={ "/_local/mails/" (mail.id) } { "as HTML" } }
                        @for (number, file) in mail.attachments.iter().enumerate() {
                            " · " a href={ "/_local/mails/" (mail.id) "/attachments/" (number) } { (file.name) }
                        }
                    }
                }
            }
        }
    }
}

fn time(time: jiff::Timestamp) -> Markup {
    html! { time datetime=(time) { (time.strftime("%H:%M:%S%.3f UTC")) } }
}
