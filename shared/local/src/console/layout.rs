//! The frame of every page: navigation, active faults, and the limits of what the stack keeps.

use axum::{
    http::{
        HeaderName,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{Html, IntoResponse, Response},
};
use jiff::SignedDuration;
use maud::{DOCTYPE, Markup, html};
use pushbox::Crash;

use super::{
    assets::version,
    badges::{action, command, span},
    extras::Bounds,
};
use crate::{
    Stack,
    broker::{MOST_ATTEMPTS, MOST_BYTES, MOST_EVENT_BYTES, MOST_EVENTS, MOST_PULLED, MOST_UNACKED},
    journal::MOST_CHANGES,
    process::Running,
};

/// Nothing comes from elsewhere, and no script or style is inline.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

/// The entries of the navigation.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum View {
    Map,
    Events,
    Send,
    Services,
    Letters,
    Mailbox,
    Payments,
    /// The page of an error, which has no entry.
    Problem,
}

impl View {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Map, "Map", "/"),
        (Self::Events, "Events", "/_local/events"),
        (Self::Send, "Send", "/_local/send"),
        (Self::Services, "Services", "/_local/services"),
        (Self::Letters, "Dead letters", "/_local/dead-letters"),
        (Self::Mailbox, "Mailbox", "/_local/mailbox"),
        (Self::Payments, "Payments", "/_local/payments"),
    ];

    fn is_offered(self, stack: &Stack) -> bool {
        match self {
            Self::Payments => stack.extras.payments.is_some(),
            Self::Send => !stack.extras.examples.is_empty(),
            _ => true,
        }
    }
}

/// What surrounds the content of a page.
pub(crate) struct Frame {
    /// The number of the last change, if the page has a stream of changes.
    pub(crate) sequence: Option<u64>,
    pub(crate) navigation: Markup,
    /// At the right of the navigation.
    pub(crate) tools: Markup,
    /// Below the navigation.
    pub(crate) bars: Markup,
    pub(crate) footer: Markup,
}

/// A page of the local stack.
pub(super) fn page(stack: &Stack, view: View, title: &str, content: &Markup) -> Response {
    let offered: Vec<View> =
        View::ALL.into_iter().map(|(view, ..)| view).filter(|view| view.is_offered(stack)).collect();
    let letters = stack.broker().map(|broker| broker.act(|topics, _| topics.dead_letters().count()));
    let frame = Frame {
        sequence: Some(stack.journal.last()),
        navigation: navigation(&offered, view, letters),
        tools: html! { (clock(stack)) (live()) },
        bars: html! { (faults(stack)) (down(stack)) },
        footer: html! { (limits(stack)) },
    };
    framed(&frame, title, content)
}

/// A whole page. `data-part` marks what the scripts replace when something has changed.
pub(crate) fn framed(frame: &Frame, title: &str, content: &Markup) -> Response {
    let asset = |name: &str| format!("/_local/assets/{name}?{}", version());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · pushbox" }
                link rel="icon" type="image/svg+xml" href=(asset("icon.svg"));
                link rel="stylesheet" href=(asset("console.css"));
                script type="module" src=(asset("main.js")) {}
            }
            body data-sequence=[frame.sequence] {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/" { img src=(asset("icon.svg")) alt="" width="26" height="26"; "pushbox" }
                    nav aria-label="Pages" { (frame.navigation) }
                    div.tools { (frame.tools) }
                }
                (frame.bars)
                main id="main" tabindex="-1" { (content) }
                footer { p data-part="limits" { "Times are in UTC. " (frame.footer) } }
                dialog.confirm aria-label="Confirm" {
                    form method="dialog" {
                        p {}
                        div.controls { button.danger value="yes" {} button value="" { "Cancel" } }
                    }
                }
                div.toasts role="status" aria-live="polite" {}
            }
        }
    };
    (HEADERS, Html(page.into_string())).into_response()
}

/// The title of a page, and a sentence about it.
pub(crate) fn heading(title: &str, about: Markup) -> Markup {
    html! { div.heading { h1 { (title) } p { (about) } } }
}

/// The entries, with the number of dead letters if it is known.
pub(crate) fn navigation(offered: &[View], view: View, letters: Option<usize>) -> Markup {
    html! {
        ul data-part="navigation" {
            @for (each, name, path) in View::ALL.into_iter().filter(|(each, ..)| offered.contains(each)) {
                li {
                    a href=(path) aria-current=[(each == view).then_some("page")] {
                        (name)
                        @if let (View::Letters, Some(count @ 1..)) = (each, letters) { span.count.bad { (count) } }
                    }
                }
            }
        }
    }
}

fn live() -> Markup {
    html! { button.live type="button" data-live aria-pressed="true" hidden { span.dot {} span data-live-text { "Live" } } }
}

fn clock(stack: &Stack) -> Markup {
    let Some(offset) = &stack.extras.clock else { return html! {} };
    let ahead = offset.get();
    html! {
        details.clock data-part="clock" data-keep="clock" {
            summary {
                "Clock: " @if ahead == SignedDuration::ZERO { "real time" } @else { span.badge.warn { "+" (span(ahead)) } }
            }
            div.menu {
                p { "Leases, pauses between retries, timers and expiry follow this clock." }
                form method="post" action="/_local/clock/advance" data-action {
                    input type="hidden" name="seconds" value="60";
                    button { "+1 minute" }
                }
                (action("/_local/clock/next", "To the next timer or retry", ""))
                @if ahead != SignedDuration::ZERO { (action("/_local/clock/real", "Back to real time", "")) }
                (command(&stack.curl("/_local/clock/advance", &["seconds=60"])))
            }
        }
    }
}

/// The faults that are on. Without one, there is no bar.
fn faults(stack: &Stack) -> Markup {
    let mut faults = Vec::new();
    for (name, process) in &*stack.services {
        let (on, kill_at) = process.faults();
        let mut words = on.words();
        words.extend(kill_at.and_then(Crash::place).map(|place| format!("will be killed {place}")));
        if !words.is_empty() {
            faults.push(format!("{name}: {}", words.join(", ")));
        }
    }
    if let Some(broker) = stack.broker() {
        let words = broker.act(|topics, _| topics.faults.words());
        if !words.is_empty() {
            faults.push(format!("broker: {}", words.join(", ")));
        }
    }
    let switches = stack.extras.switches.iter().filter(|switch| switch.is_on());
    faults.extend(switches.map(|switch| format!("{}: {}", switch.of, switch.label)));
    html! {
        div.bar.faults role="region" aria-label="Faults" data-part="faults" hidden[faults.is_empty()] {
            strong { "Faults are on" }
            ul { @for fault in &faults { li { (fault) } } }
            (action("/_local/faults/end", "End all faults", "small"))
        }
    }
}

/// The services that do not answer.
fn down(stack: &Stack) -> Markup {
    let down: Vec<_> = stack.services.iter().filter(|(_, process)| !process.is_up()).collect();
    html! {
        div.bar.down role="region" aria-label="What is down" data-part="down" hidden[down.is_empty()] {
            ul {
                @for (name, process) in down {
                    li {
                        strong { (name) } " is "
                        @if process.running() == Running::Stopped { "stopped" } @else { "killed" }
                        @if let Some(place) = process.killed_at() { " " (place) }
                        (action(&format!("/_local/services/{name}/start"), "Start", "small"))
                    }
                }
            }
        }
    }
}

fn limits(stack: &Stack) -> String {
    let mib = |bytes: usize| bytes >> 20;
    let mut kept = format!(
        "The stack keeps the last {MOST_EVENTS} events, up to {} MiB, {MOST_ATTEMPTS} attempts of each delivery, and the \
         last {MOST_CHANGES} changes of the stream.",
        mib(MOST_EVENT_BYTES)
    );
    if let Some(Bounds { memory, most_documents, most_receipts }) = &stack.extras.memory {
        let used = memory.used();
        kept += &format!(
            " Documents take about {} of {} MiB; beyond that, the stack takes no new work. Receipts take about {} of {} \
             MiB; beyond that, the oldest are dropped.",
            mib(used.documents),
            mib(*most_documents),
            mib(used.receipts),
            mib(*most_receipts)
        );
    }
    if stack.broker().is_none() {
        return format!("{kept} It sees only the messages that Google's emulator pushes to this process.");
    }
    let room = mib(MOST_BYTES);
    format!(
        "{kept} It keeps up to {MOST_PULLED} dead letters and {room} MiB for each service, then drops the oldest. A \
         subscription holds up to {MOST_UNACKED} messages and {room} MiB; beyond that, publishing fails."
    )
}
