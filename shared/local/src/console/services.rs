//! `/_local/services`: every service, its controls and its faults, and the faults of the broker and the outside world.

use axum::{extract::State, response::Response};
use catalog::ServiceEntry;
use maud::{Markup, html};
use pushbox::Crash;

use super::{
    badges::{action, folded_example},
    layout::{View, heading, page},
    overview::systems,
};
use crate::{
    Stack,
    process::{Process, Running},
};

pub(super) async fn show(State(stack): State<Stack>) -> Response {
    let about = html! {
        "Stop a service and start it again: it catches up. Kill it, and it loses its requests in flight: the callers get \
         503, as from an instance that is gone."
    };
    let content = html! {
        (heading("Services", about))
        @for system in systems(&stack.catalog) {
            section.card.system aria-label=(format!("Services of {system}")) {
                h2 { (system) }
                @for entry in stack.catalog.services.iter().filter(|entry| entry.system == system) { (service(&stack, entry)) }
            }
        }
        (outside(&stack))
    };
    page(&stack, View::Services, "Services", &content)
}

fn service(stack: &Stack, entry: &ServiceEntry) -> Markup {
    let ServiceEntry { name, about, .. } = entry;
    let Some(process) = stack.services.get(name) else { return html! {} };
    let backlog = stack.broker().map(|broker| {
        broker.act(|topics, _| {
            let of = |subscription: &catalog::Subscription| topics.backlog(&subscription.name);
            entry.subscriptions.iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        })
    });
    html! {
        article.service id=(name) {
            div data-part=(format!("head {name}")) {
                h3 { (state_of(process)) a href=(format!("/{name}")) { (name) } }
                p { "It " (about) "." }
            }
            p.numbers data-part=(format!("numbers {name}")) {
                @if let Some((waiting, in_flight)) = backlog {
                    span { b { (waiting) } " waiting" } span { b { (in_flight) } " in flight" }
                }
                a href=(format!("/_local/events?service={name}")) { "Events" }
            }
            div data-part=(format!("controls {name}")) { (controls(stack, name)) }
            (faults(stack, name, process))
        }
    }
}

fn state_of(process: &Process) -> Markup {
    let (tone, word) = match process.running() {
        Running::Up => ("good", "up"),
        Running::Stopped => ("warn", "stopped"),
        Running::Killed => ("bad", "killed"),
    };
    html! { span.badge.(tone) { (word) } }
}

/// The buttons that stop, kill and start a service.
pub(super) fn controls(stack: &Stack, name: &str) -> Markup {
    let Some(process) = stack.services.get(name) else { return html! {} };
    let path = |verb: &str| format!("/_local/services/{name}/{verb}");
    html! {
        div.controls {
            @if process.is_up() {
                (action(&path("stop"), "Stop", ""))
                @if process.can_be_killed() { (action(&path("kill"), "Kill", "danger")) }
            } @else {
                (action(&path("start"), "Start", "primary"))
            }
        }
    }
}

fn faults(stack: &Stack, name: &str, process: &Process) -> Markup {
    let (on, kill_at) = process.faults();
    let path = format!("/_local/services/{name}/faults");
    let is_faulty = !on.words().is_empty() || kill_at.is_some();
    let points = stack.fault_points(name);
    let reached = Crash::POINTS.into_iter().filter(|(point, _)| points.contains(point));
    let example = ["performed", "committed"].into_iter().find(|point| points.contains(point));
    let fields = match example {
        Some(point) => ["latencyMillis=500".to_owned(), format!("killAt={point}")],
        None => ["latencyMillis=500".to_owned(), "errorPercent=10".to_owned()],
    };
    html! {
        details.fold open[is_faulty] data-keep=(format!("faults {name}")) {
            summary { "Faults" }
            form.faults-form method="post" action=(path) data-action {
                label { "Slower by " span.unit { input type="number" name="latencyMillis" min="0" max="60000" step="100" value=(on.latency_millis); "ms" } }
                label { "Fails " span.unit { input type="number" name="errorPercent" min="0" max="100" value=(on.error_percent); "% of its requests" } }
                @if process.can_be_killed() {
                    label { "Is killed once, "
                        select name="killAt" {
                            option value="" { "never" }
                            @for (point, place) in reached {
                                option value=(point) selected[kill_at == Some(point)] { (place) }
                            }
                        }
                    }
                    label.tick { input type="checkbox" name="refuseCommits" checked[on.refuse_commits]; "Its store refuses every commit, so its events become dead letters" }
                }
                button { "Set these faults" }
                (folded_example(&stack.curl(&path, &fields.each_ref().map(String::as_str))))
            }
        }
    }
}

/// The faults of the broker and of the outside world.
fn outside(stack: &Stack) -> Markup {
    let broker = stack.broker().map(|broker| broker.act(|topics, _| topics.faults));
    html! {
        section.card.outside data-part="outside" {
            @if let Some(on) = broker {
                form method="post" action="/_local/broker/faults" data-action {
                    h2 { "Broker" }
                    label.tick { input type="checkbox" name="duplicate" checked[on.duplicate]; "Delivers every message twice, at the same time" }
                    label.tick { input type="checkbox" name="reorder" checked[on.reorder]; "Lets messages overtake each other" }
                    label.tick { input type="checkbox" name="dropAcks" checked[on.drop_acks]; "Loses the first ack of each message" }
                    button { "Set" }
                    (folded_example(&stack.curl("/_local/broker/faults", &["duplicate=on"])))
                }
            }
            @for switch in &*stack.extras.switches {
                @let path = format!("/_local/switches/{}", switch.id);
                form method="post" action=(path) data-action {
                    h2 { (switch.of) }
                    label.tick { input type="checkbox" name="on" checked[switch.is_on()]; (switch.label) }
                    button { "Set" }
                    (folded_example(&stack.curl(&path, &["on=on"])))
                }
            }
        }
    }
}
