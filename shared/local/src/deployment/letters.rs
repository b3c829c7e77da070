//! The dead letters. To look at them leases them for a moment, so a person must ask for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use maud::{Markup, html};
use pushbox::Problem;
use redrive::Group;
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    Console,
    look::{Content, Looked, Shown},
    pages::dead,
    replays::{Choice, Runs},
};
use crate::console::shared::{Form, View, command, done, empty, heading, time};

/// An empty look does not mean that there is no letter.
const NOTHING_TO_SEE: [&str; 2] =
    ["No letters to see", "Letters that another process holds for up to a minute are not shown."];

/// What the console knows of dead letters.
#[derive(Clone, Default)]
pub(super) struct Letters(Arc<Mutex<Known>>);

#[derive(Default)]
pub(super) struct Known {
    looked: Option<Arc<Looked>>,
    pub(super) runs: Runs,
}

impl Letters {
    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        // No code panics between two changes, so a poisoned value is still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there were at the last look, without those that a replay has handled since.
    pub(super) fn count(&self) -> Option<usize> {
        let known = self.lock();
        let looked = known.looked.as_ref()?;
        Some(looked.count.saturating_sub(known.runs.gone(looked.at)))
    }
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    /// The time of the look whose data is shown, which may be personal. The data of the next look is masked again.
    #[serde(default)]
    unmask: String,
}

/// What the page shows.
struct Page<'a> {
    console: &'a Console,
    looked: &'a Looked,
    runs: &'a Runs,
    unmask: bool,
}

pub(super) async fn show(
    State(console): State<Console>,
    Query(Chosen { unmask }): Query<Chosen>,
) -> Response {
    let backlogs = console.backlogs().await;
    let counts: Vec<(&str, u64)> = console
        .deployment
        .catalog
        .services
        .iter()
        .filter_map(|entry| Some((&*entry.name, dead(entry, &backlogs)?)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let (looked, runs) = {
        let known = console.letters.lock();
        (known.looked.clone(), known.runs.clone())
    };
    let content = html! {
        (heading("Dead letters", html! { "Messages that a service could not handle, in groups with the same cause." }))
        section.card data-part="look" {
            @if !counts.is_empty() {
                p.numbers { @for (service, count) in &counts { span { b { (count) } " " (service) } } }
            }
            form method="post" action="/_local/dead-letters/look" data-action {
                button class=(if looked.is_none() { "primary" } else { "" }) { @if looked.is_none() { "Look at the letters" } @else { "Look again" } }
            }
            p.hint { "To look, the console leases all letters, and gives them back at once. Another person who looks at the same moment sees fewer." }
        }
        (runs.shown())
        section data-part="letters" aria-label="Dead letters" {
            @if let Some(looked) = &looked {
                @let unmask = unmask == looked.at.to_string();
                (Page { console: &console, looked, runs: &runs, unmask }.letters())
            }
        }
    };
    console.page(View::Letters, "Dead letters", &content)
}

impl Page<'_> {
    fn letters(&self) -> Markup {
        let Looked { at, count, is_all, group_count, groups } = self.looked;
        html! {
            p.numbers {
                span { b { (count) } @if *count == 1 { " letter" } @else { " letters" } " that nobody else held at " (time(*at)) }
                @if !is_all { span { "There may be more." } }
                @if *count > 0 {
                    @if self.unmask { a href="/_local/dead-letters" { "Mask the data" } }
                    @else { a href=(format!("/_local/dead-letters?unmask={at}")) { "Show the data, which may be personal" } }
                }
            }
            @if groups.is_empty() { (empty(NOTHING_TO_SEE[0], html! { (NOTHING_TO_SEE[1]) })) }
            @for (group, letters) in groups { (self.group(group, letters)) }
            @if *group_count > groups.len() {
                p { "And " (group_count - groups.len()) " smaller groups:" }
                (command(&self.console.command("groups")))
            }
        }
    }

    fn group(&self, group: &Group, letters: &[Shown]) -> Markup {
        let Group { group: id, service, r#type, code, count, reason, came_back, oldest, .. } = group;
        let may_replay = self.console.deployment.may_replay;
        let was_replayed = self.runs.has(service, &Choice::Group(id.clone()), self.looked.at);
        html! {
            article.card.group {
                header {
                    div {
                        h2 { (service) @if was_replayed { " " span.badge.accent { "replayed" } } }
                        p {
                            strong { (r#type.as_deref().unwrap_or("no type")) } " · " (code) " · " (count) @if *count == 1 { " letter" } @else { " letters" }
                            " since " (time(*oldest)) @if *came_back > 0 { " · came back " (came_back) "×" }
                        }
                    }
                    @if may_replay { div.controls { (button(service, "group", id, if *count == 1 { "Replay" } else { "Replay all" })) } }
                }
                // A reason can quote the data.
                p.reason { (letters.first().map_or(reason, |newest| &newest.content(self.unmask).reason)) }
                @if let ([letter], 1) = (letters, *count) { (self.letter(service, letter, false)) }
                @else if !letters.is_empty() {
                    details.fold data-keep=(format!("group {id}")) {
                        summary { "The newest " @if letters.len() == 1 { "letter" } @else { (letters.len()) " letters" } }
                        @for letter in letters { (self.letter(service, letter, true)) }
                    }
                }
                @if *count > letters.len() {
                    p.hint { (count - letters.len()) @if !letters.is_empty() { " more" } @if count - letters.len() == 1 { " letter" } @else { " letters" } ":" }
                    (command(&self.console.command(&format!("list --group {id}"))))
                }
                p.hint { "To replay " @if *count == 1 { "it" } @else { "them" } " from a terminal:" }
                (command(&self.console.command(&format!("replay --group {id}"))))
                @if may_replay {
                    p.hint { "To drop " @if *count == 1 { "it" } @else { "them" } ":" }
                    (command(&self.console.command(&format!("drop --group {id}"))))
                }
            }
        }
    }

    fn letter(&self, service: &str, letter: &Shown, is_one_of_many: bool) -> Markup {
        let Shown { id, parked_at, story, .. } = letter;
        let Content { attributes, data, more, .. } = letter.content(self.unmask);
        html! {
            details.fold data-keep=(format!("letter {service} {id}")) {
                summary {
                    (time(*parked_at)) " message " code { (id) }
                    @if self.runs.has(service, &Choice::Letter(id.clone()), self.looked.at) { " " span.badge.accent { "replayed" } }
                }
                @if is_one_of_many && self.console.deployment.may_replay { (button(service, "letter", id, "Replay")) }
                @if let Some(story) = story { p { a href=(found_by(story)) { "Its story" } } }
                pre { (data) }
                @if *more > 0 {
                    p.hint { "… " (more.div_ceil(1 << 10)) " KiB more:" }
                    @let unmask = if self.unmask { " --unmask" } else { "" };
                    (command(&self.console.command(&format!("show {id} --service {service}{unmask}"))))
                }
                dl.attributes { @for (name, value) in attributes { dt { (name) } dd { (value) } } }
            }
        }
    }
}

fn found_by(key: &str) -> String {
    format!(
        "/_local/events?{}",
        form_urlencoded::Serializer::new(String::new()).append_pair("key", key).finish()
    )
}

fn button(service: &str, field: &str, value: &str, label: &str) -> Markup {
    let question = format!("{label}? It publishes to {service} only.");
    html! {
        form method="post" action="/_local/dead-letters/replay" data-action data-confirm=(question) {
            input type="hidden" name="service" value=(service);
            input type="hidden" name=(field) value=(value);
            button.primary[field == "group"] { (label) }
        }
    }
}

/// Looks at the letters of all services.
pub(super) async fn look(
    State(console): State<Console>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Problem> {
    form.only(&[])?;
    // The task goes on if the browser closes the connection. Otherwise nobody would see the letters for a minute.
    let looked = tokio::spawn(async move {
        let mut desk = console.desk(None);
        let gathered = desk.gather().await;
        let is_all = !desk.is_full();
        desk.close().await;
        let looked = Looked::of(&gathered.map_err(|error| error.to_string())?, is_all);
        let count = looked.count;
        console.letters.lock().looked = Some(looked);
        Ok::<_, String>(count)
    });
    let failed = |error: String| Problem::new(StatusCode::BAD_GATEWAY, error);
    let message = match looked.await.map_err(|error| failed(error.to_string()))?.map_err(failed)? {
        0 => NOTHING_TO_SEE.join(". "),
        1 => "There is one dead letter that nobody else holds.".to_owned(),
        count => format!("There are {count} dead letters that nobody else holds."),
    };
    Ok(done(&headers, &message))
}
