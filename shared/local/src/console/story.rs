//! A causal tree as nested lists.

use maud::{Markup, html};

use super::{
    badges::{badge, time},
    tree::{Beginning, Branch, MOST_NODES, Node, Root},
};

/// The story of an event. `current` is the message that the page shows. With a clock, a person can wait for the end of a
/// claim.
pub(crate) fn shown(root: &Root, current: &str, has_clock: bool) -> Markup {
    html! {
        ul.tree {
            @match root {
                Root::Command { service, route, at, events } => li {
                    div.node.request { span.badge.accent { "request" } strong { (route) } " to " (service) " " (time(*at)) }
                    (nodes(events, current, has_clock))
                },
                Root::Event { node, beginning } => {
                    @match beginning {
                        Beginning::Outside => {},
                        Beginning::Forgotten => li.hint { "The beginning of this story is no longer known." },
                        Beginning::Sought { is_type_known } => li.hint {
                            "This tree begins with the event that you searched for."
                            @if !is_type_known { " Its type is not known, so services that did not handle it are not listed." }
                        },
                    }
                    (node_of(node, current, has_clock))
                },
            }
        }
    }
}

fn nodes(events: &[Node], current: &str, has_clock: bool) -> Markup {
    html! { @if !events.is_empty() { ul { @for event in events { (node_of(event, current, has_clock)) } } } }
}

fn node_of(node: &Node, current: &str, has_clock: bool) -> Markup {
    let Node { id, event, message_ids, published_at, due, branches } = node;
    let is_current = message_ids.iter().any(|id| id == current);
    let replays = message_ids.len().saturating_sub(1);
    let text = html! { span.kind {} strong { @if event.is_empty() { "event " (id) } @else { (event) } } };
    html! {
        li {
            div.node.published.current[is_current] title=(id) {
                @match message_ids.last() {
                    Some(message_id) if message_id != current => a href=(format!("/_local/events/{message_id}")) { (text) },
                    _ => (text),
                }
                @if let Some(at) = published_at { (time(*at)) }
                @else if let Some(due) = due { span.badge.warn { "due " (time(*due)) } }
                @if replays > 0 { span.badge.accent { "replayed" @if replays > 1 { " ×" (replays) } } }
            }
            @if !branches.is_empty() { ul { @for branch in branches { (branch_of(branch, current, has_clock)) } } }
            @else { p.hint { "No further steps, or more than " (MOST_NODES) " events in this story." } }
        }
    }
}

fn branch_of(branch: &Branch, current: &str, has_clock: bool) -> Markup {
    let Branch { service, result, detail, handled_at, claimed_until, fate, events } = branch;
    html! {
        li {
            div.node.handled-by {
                (badge(result)) " " (service)
                @if let Some(at) = handled_at { " " (time(*at)) }
                @if let Some(fate) = fate {
                    @let outcome = fate.result();
                    @if outcome != *result { " last delivery: " (badge(outcome)) }
                    @if fate.attempts > 1 { small { (fate.attempts) " attempts" } }
                }
                @if let Some(detail) = detail { small.detail { (detail) } }
                @if let Some(until) = claimed_until {
                    div.detail.wait {
                        small { "Claimed until " (time(*until)) ". Then the next delivery asks again, with the same key." }
                        @if has_clock {
                            form method="post" action="/_local/clock/advance" data-action {
                                input type="hidden" name="seconds" value="60";
                                button.small { "+1 minute" }
                            }
                        }
                    }
                }
            }
            (nodes(events, current, has_clock))
        }
    }
}
