//! `/_local/dead-letters`: the dead letters in groups, and what became of those that were replayed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{extract::State, http::HeaderMap, response::Response};
use maud::{Markup, html};
use pushbox::Problem;

use super::{
    actions::broker,
    badges::{badge, command, empty, folded_command, pretty, time},
    events::recent,
    form::{Form, done, invalid},
    layout::{View, heading, page},
};
use crate::{
    Stack,
    broker::RecentEvent,
    stack::Transport,
    state::{DeadLetter, Letters, letters_of, letters_on},
};

/// How many replays are remembered.
const MOST_REPLAYS: usize = 100;

/// How many letters of a group are listed.
const MOST_LISTED: usize = 20;

/// How many reasons of a group are listed.
const MOST_REASONS: usize = 3;

/// The messages that were replayed, the newest first.
#[derive(Clone, Default)]
pub(crate) struct Replays(Arc<Mutex<VecDeque<u64>>>);

impl Replays {
    fn add(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut replays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.into_iter().for_each(|number| replays.push_front(number));
        replays.truncate(MOST_REPLAYS);
    }

    pub(super) fn all(&self) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

pub(super) async fn show(State(stack): State<Stack>) -> Response {
    let (count, letters) = match &stack.transport {
        Transport::Broker(broker) => Ok(letters_of(broker, &stack.catalog)),
        Transport::Emulator(emulator, pushes) => letters_on(emulator, pushes, &stack.catalog).await,
    }
    .unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the dead letters");
        (None, Letters::new())
    });
    // Letters of the same service, type and code stand together.
    let mut groups = BTreeMap::<_, Vec<&DeadLetter>>::new();
    for letter in &letters {
        let DeadLetter { service, r#type, code, group, .. } = letter;
        groups.entry((service, r#type, code, group)).or_default().push(letter);
    }
    let about = html! { "Messages that a service has rejected, or has failed to handle too often. Repair the cause, then replay them." };
    let content = html! {
        (heading("Dead letters", about))
        // A look at the emulator's letters takes them for a moment, so that page does not refresh by itself.
        section aria-label="Dead letters" data-part=[stack.broker().map(|_| "letters")] {
            @match count {
                Some(0) => (empty("No dead letters", html! { "That is how it should be. To see one, " a href="/" { "publish poison" } "." })),
                Some(count) => p.numbers { span { b { (count) } @if count == 1 { " dead letter" } @else { " dead letters" } } @if letters.len() < count { span { "The page shows the newest " (letters.len()) "." } } },
                None => p.problem { "The total is unknown." },
            }
            @if let (Transport::Emulator(emulator, _), false) = (&stack.transport, letters.is_empty()) {
                p.hint { "On the emulators, another console can replay them: " }
                (command(&format!("target/debug/functions console --project {} --allow-replay", emulator.project())))
            }
            @for letters in groups.values() { (group_of(&stack, letters)) }
        }
        (replays(&stack))
    };
    page(&stack, View::Letters, "Dead letters", &content)
}

fn group_of(stack: &Stack, letters: &[&DeadLetter]) -> Markup {
    let Some(DeadLetter { service, r#type, code, group, .. }) = letters.first() else {
        return Markup::default();
    };
    let ids: Vec<&str> = letters.iter().map(|letter| &*letter.message_id).collect();
    // They differ in ids, numbers and quoted texts.
    let reasons: BTreeSet<&str> = letters.iter().map(|letter| &*letter.reason).collect();
    html! {
        article.card.group {
            header {
                div { h2 { (service) } p { strong { (r#type.as_deref().unwrap_or("no type")) } " · " (code) " · " (letters.len()) @if letters.len() == 1 { " letter" } @else { " letters" } } }
                @if stack.broker().is_some() { (buttons(service, &ids.join(","), letters.len() > 1)) }
            }
            @for reason in reasons.iter().take(MOST_REASONS) { p.reason { (reason) } }
            @if reasons.len() > MOST_REASONS { p.hint { "And " (reasons.len() - MOST_REASONS) " more reasons that differ only in ids and numbers." } }
            @for letter in letters.iter().take(MOST_LISTED) { (letter_of(stack, letter, letters.len() > 1)) }
            @if letters.len() > MOST_LISTED { p.hint { "And " (letters.len() - MOST_LISTED) " more." } }
            (command(&replay_command(stack, group)))
        }
    }
}

/// The command that repairs dead letters. `place` chooses where they are.
pub(crate) fn command_line(arguments: &str, place: &str) -> String {
    format!("target/debug/functions dead-letters {arguments} {place}")
}

fn replay_command(stack: &Stack, group: &str) -> String {
    let place = match &stack.transport {
        Transport::Broker(_) => format!("--local {}", stack.base()),
        Transport::Emulator(emulator, _) => format!("--project {}", emulator.project()),
    };
    command_line(&format!("replay --group {group}"), &place)
}

fn buttons(service: &str, ids: &str, are_many: bool) -> Markup {
    let all = if are_many { "all letters of this group" } else { "this letter" };
    let drop = format!("Drop {all}? Then {service} never gets another chance.");
    let form = |verb: &str, label: &str, class: &str, question: Option<&str>| {
        html! {
            form method="post" action=(format!("/_local/dead-letters/{verb}")) data-action data-confirm=[question] {
                input type="hidden" name="service" value=(service);
                input type="hidden" name="ids" value=(ids);
                button class=(class) { (label) @if are_many { " all" } }
            }
        }
    };
    html! { div.controls { (form("replay", "Replay", "primary", None)) (form("drop", "Drop", "danger", Some(&drop))) } }
}

fn letter_of(stack: &Stack, letter: &DeadLetter, is_one_of_many: bool) -> Markup {
    let DeadLetter { service, message_id, published_at, attributes, data, data_bytes, .. } = letter;
    let fields = [format!("service={service}"), format!("ids={message_id}")];
    let fields = fields.each_ref().map(String::as_str);
    html! {
        details.fold data-keep=(format!("letter {message_id}")) {
            summary { (time(*published_at)) " message " code { (message_id) } }
            @if is_one_of_many && stack.broker().is_some() { (buttons(service, message_id, false)) }
            pre { (pretty(data)) }
            @if data.len() < *data_bytes { p.hint { "The first " (data.len()) " of " (data_bytes) " bytes." } }
            dl.attributes { @for (name, value) in attributes { dt { (name) } dd { (value) } } }
            @if stack.broker().is_some() { (folded_command(&stack.curl("/_local/dead-letters/replay", &fields))) }
        }
    }
}

/// What became of the replayed letters that the broker still has.
fn replays(stack: &Stack) -> Markup {
    let recent = recent(stack);
    let find = |number: u64| recent.iter().find(|event| event.message.number == number);
    let found: Vec<&RecentEvent> = stack.extras.replays.all().into_iter().filter_map(find).collect();
    html! {
        section data-part="replays" aria-label="Replays" {
            @if !found.is_empty() {
                h2 { "Replays" }
                div.scroll tabindex="0" role="region" aria-label="Replays" { table.stacks {
                    thead { tr { th { "Replayed" } th { "Service" } th { "Result" } th { "Message" } } }
                    tbody {
                        @for event in found {
                            @for (subscription, fate) in &event.deliveries {
                                tr {
                                    td data-label="Replayed" { (time(event.message.publish_time)) }
                                    td.id data-label="Service" { (stack.owner(subscription).unwrap_or(subscription)) }
                                    td data-label="Result" {
                                        (badge(fate.result())) @if let Some(failure) = &fate.failure { " " small { (failure) } }
                                        @if fate.result() == "reject" { " " small { "It is a dead letter again: the cause is still there." } }
                                    }
                                    td data-label="Message" { a href=(format!("/_local/events/{}", event.message.id())) { (event.message.id()) } }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// Delivers letters once more, each to the service that failed, and to no other.
pub(super) async fn replay(
    State(stack): State<Stack>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Problem> {
    let (service, ids) = chosen(&form)?;
    let replayed = broker(&stack)?.with(|topics, now| {
        let replay = |id: &u64| topics.replay_letter(service, *id, now);
        ids.iter().filter_map(replay).collect::<Vec<u64>>()
    });
    let message = match replayed.len() {
        0 => return Err(none_of(service)),
        1 => format!("One letter was replayed to {service}."),
        many => format!("{many} letters were replayed to {service}."),
    };
    stack.extras.replays.add(replayed);
    Ok(done(&headers, &message))
}

pub(super) async fn drop_letters(
    State(stack): State<Stack>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Problem> {
    let (service, ids) = chosen(&form)?;
    let dropped =
        broker(&stack)?.with(|topics, _| ids.iter().filter(|id| topics.drop_letter(service, **id)).count());
    let message = match dropped {
        0 => return Err(none_of(service)),
        1 => format!("One letter of {service} was dropped."),
        many => format!("{many} letters of {service} were dropped."),
    };
    Ok(done(&headers, &message))
}

fn none_of(service: &str) -> Problem {
    Problem::not_found(format_args!("dead letter of {service} with this id"))
}

/// The service, and the numbers of its letters.
fn chosen(form: &Form) -> Result<(&str, Vec<u64>), Problem> {
    let ids = form.text("ids").unwrap_or_default().split(',');
    let ids = ids.filter_map(|id| id.trim().parse().ok()).collect();
    form.only(&["service", "ids"])?;
    Ok((form.text("service").ok_or_else(|| invalid("The field service is missing."))?, ids))
}
