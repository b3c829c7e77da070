//! The dead letters. To look at them leases them for a moment, so a person must ask for it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use jiff::Timestamp;
use maud::{Markup, html};
use pushbox::{Problem, wire::attribute};
use redrive::{
    Group, Letter, Options, Plan, Report, Selection, Stop, Told, groups, new_id, plan, replay as redrive,
};
use serde::Deserialize;
use url::form_urlencoded;

use super::{Console, pages::dead};
use crate::console::shared::{Form, View, command, done, empty, heading, invalid, pretty, time};

/// How many replays are remembered.
pub(super) const MOST_RUNS: usize = 20;

/// How many letters of a group are shown.
const MOST_LISTED: usize = 20;

/// An empty look does not mean that there is no letter.
const NOTHING_TO_SEE: &str =
    "No letters to see. Letters that another process holds for up to a minute are not shown.";

/// The pause after each publication.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a batch may take until its verdict.
const WAIT: Duration = Duration::from_secs(60);

/// What the console knows of dead letters.
#[derive(Clone, Default)]
pub(super) struct Letters(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    looked: Option<Looked>,
    /// The newest first.
    runs: VecDeque<Run>,
}

/// A look at the dead letters.
#[derive(Clone)]
struct Looked {
    at: Timestamp,
    count: usize,
    is_all: bool,
    /// With the newest letters of each.
    groups: Vec<(Group, Vec<Letter>)>,
}

/// A replay from the page.
#[derive(Clone)]
struct Run {
    id: String,
    began: Timestamp,
    service: String,
    /// How many letters are left out, by the reason.
    left_out: BTreeMap<String, usize>,
    told: Option<Told>,
    /// None while it runs.
    end: Option<Result<Report, String>>,
}

impl Looked {
    fn of(all: &[Letter], is_all: bool) -> Self {
        let mut newest = BTreeMap::<String, Vec<Letter>>::new();
        for letter in all.iter().rev() {
            let letters = newest.entry(letter.group()).or_default();
            if letters.len() < MOST_LISTED {
                letters.push(letter.clone());
            }
        }
        let with_letters = |group: Group| (newest.remove(&group.group).unwrap_or_default(), group);
        let groups =
            groups(all).into_iter().map(with_letters).map(|(letters, group)| (group, letters)).collect();
        Self { at: Timestamp::now(), count: all.len(), is_all, groups }
    }
}

impl Letters {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // No code panics between two changes, so a poisoned value is still consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there were at the last look.
    pub(super) fn count(&self) -> Option<usize> {
        self.lock().looked.as_ref().map(|looked| looked.count)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Run)) {
        let mut known = self.lock();
        if let Some(run) = known.runs.iter_mut().find(|run| run.id == id) {
            change(run);
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Shown {
    /// Whether personal data is shown.
    #[serde(default)]
    unmask: bool,
}

pub(super) async fn show(State(console): State<Console>, Query(Shown { unmask }): Query<Shown>) -> Response {
    let backlogs = console.backlogs().await;
    let counts: Vec<(&str, u64)> = console
        .deployment
        .catalog
        .services
        .iter()
        .map(|entry| (&*entry.name, dead(entry, &backlogs)))
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
        section data-part="letters" aria-label="Dead letters" {
            @if let Some(looked) = &looked { (letters(&console, looked, unmask)) }
        }
        (replays(&runs))
    };
    console.page(View::Letters, "Dead letters", &content)
}

fn letters(console: &Console, looked: &Looked, unmask: bool) -> Markup {
    let Looked { at, count, is_all, groups } = looked;
    html! {
        p.numbers {
            span { b { (count) } @if *count == 1 { " letter" } @else { " letters" } " that nobody else held at " (time(*at)) }
            @if !is_all { span { "There may be more." } }
            @if *count > 0 {
                @if unmask { a href="/_local/dead-letters" { "Mask the data" } }
                @else { a href="/_local/dead-letters?unmask=true" { "Show the data, which may be personal" } }
            }
        }
        @if groups.is_empty() { (empty("No letters to see", html! { "Letters that another process holds for up to a minute are not shown." })) }
        @for (group, letters) in groups { (group_of(console, group, letters, unmask)) }
    }
}

fn group_of(console: &Console, group: &Group, letters: &[Letter], unmask: bool) -> Markup {
    let Group { group: id, service, r#type, code, count, reason, came_back, oldest, .. } = group;
    html! {
        article.card.group {
            header {
                div {
                    h2 { (service) }
                    p {
                        strong { (r#type.as_deref().unwrap_or("no type")) } " · " (code) " · " (count) @if *count == 1 { " letter" } @else { " letters" }
                        " since " (time(*oldest)) @if *came_back > 0 { " · came back " (came_back) "×" }
                    }
                }
                @if console.deployment.may_replay { div.controls { (button(service, "group", id, if *count == 1 { "Replay" } else { "Replay all" })) } }
            }
            p.reason { (letters.first().map_or(reason, |letter| &letter.reason)) }
            @for letter in letters { (letter_of(console, letter, *count > 1, unmask)) }
            @if *count > letters.len() { p.hint { "And " (count - letters.len()) " more." } }
            (command(&console.command(&format!("replay --group {id}"))))
            (command(&console.command(&format!("drop --group {id}"))))
        }
    }
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

fn letter_of(console: &Console, letter: &Letter, is_one_of_many: bool, unmask: bool) -> Markup {
    let Letter { id, service, parked_at, attributes, .. } = letter;
    html! {
        details.fold data-keep=(format!("letter {id}")) {
            summary { (time(*parked_at)) " message " code { (id) } }
            @if is_one_of_many && console.deployment.may_replay { (button(service, "letter", id, "Replay")) }
            @if let Some(key) = story(letter) { p { a href=(format!("/_local/events?{}", form_urlencoded::Serializer::new(String::new()).append_pair("key", &key).finish())) { "Its story" } } }
            pre { (pretty(&letter.payload(unmask))) }
            dl.attributes { @for (name, value) in attributes { dt { (name) } dd { (value) } } }
        }
    }
}

/// What finds the story of a letter: the request that began it, or else the event.
fn story(letter: &Letter) -> Option<String> {
    let value = |name: &str| letter.attributes.get(name).filter(|value| !value.is_empty());
    let event = || Some(format!("{} {}", value(attribute::SOURCE)?, value(attribute::ID)?));
    value(attribute::CORRELATION_ID).cloned().or_else(event)
}

fn replays(runs: &VecDeque<Run>) -> Markup {
    html! {
        section data-part="replays" aria-label="Replays" {
            @if !runs.is_empty() {
                h2 { "Replays" }
                div.scroll tabindex="0" role="region" aria-label="Replays" { table {
                    thead { tr { th { "Began" } th { "Replay" } th { "Service" } th { "Result" } } }
                    tbody {
                        @for Run { id, began, service, left_out, told, end } in runs {
                            tr data-busy[end.is_none()] {
                                td { (time(*began)) } td { code { (id) } } td { (service) }
                                td {
                                    @match end {
                                        None => span.badge.warn { @if let Some(told) = told { (told.handled) " of " (told.size) " handled" } @else { "begins" } },
                                        Some(Ok(report)) => (verdict(report)),
                                        Some(Err(error)) => { span.badge.bad { "failed" } " " small { (error) } },
                                    }
                                    @for (why, count) in left_out { p { (count) @if *count == 1 { " letter is" } @else { " letters are" } " left out: " (why) } }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn verdict(report: &Report) -> Markup {
    let Report { handled, republished, came_back, pending, unsent, stop, trouble, .. } = report;
    let tone = match (report.exit_code(), handled) {
        (0, 0) => "plain",
        (0, _) => "good",
        _ => "bad",
    };
    html! {
        span.badge.(tone) { (handled) " handled" }
        @if *republished > 0 {
            " " span.badge.warn { (republished) " republished" }
            " " small { "The service had handled these events before. The replay only publishes their events again." }
        }
        @if !came_back.is_empty() { " " span.badge.bad { (came_back.len()) " came back" } }
        @for back in came_back.iter().take(3) { " " small { (back.reason) } }
        @if !pending.is_empty() { " " span.badge.warn { (pending.len()) " without a verdict" } }
        @if *unsent > 0 { " " span.badge.plain { (unsent) " not sent" } }
        @match stop {
            Some(Stop::Canary) => { " " small { "The first letter came back, so no other was sent." } },
            Some(Stop::Failures) => { " " small { "Too many came back." } },
            Some(Stop::NotPublished(error)) => { " " small { (error) } },
            None => {},
        }
        @if let Some(trouble) = trouble { " " small { (trouble) } }
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
        0 => NOTHING_TO_SEE.to_owned(),
        1 => "There is one dead letter that nobody else holds.".to_owned(),
        count => format!("There are {count} dead letters that nobody else holds."),
    };
    Ok(done(&headers, &message))
}

/// Replays a group or a letter. The request ends when the replay has begun.
pub(super) async fn replay(
    State(console): State<Console>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Problem> {
    if !console.deployment.may_replay {
        let detail =
            "This console is read-only. To replay dead letters from it, start it with --allow-replay.";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    form.only(&["service", "group", "letter"])?;
    let service = form.text("service").ok_or_else(|| invalid("The field service is missing."))?.to_owned();
    let (group, letter) = (form.text("group").map(str::to_owned), form.text("letter").map(str::to_owned));
    if group.is_some() == letter.is_some() {
        return Err(invalid("Either group or letter chooses what to replay."));
    }
    let began = Timestamp::now();
    let selection = Selection {
        ids: letter.into_iter().collect(),
        group,
        service: Some(service.clone()),
        before: Some(began),
        ..Selection::default()
    };
    let id = new_id();
    let run = Run {
        id: id.clone(),
        began,
        service: service.clone(),
        left_out: BTreeMap::new(),
        told: None,
        end: None,
    };
    {
        let mut known = console.letters.lock();
        known.runs.push_front(run);
        known.runs.truncate(MOST_RUNS);
    }
    let message = format!("The replay {id} to {service} has begun.");
    tokio::spawn(async move {
        let end = carry_out(&console, &id, &selection).await;
        // What the page has shown before is no longer so.
        console.letters.lock().looked = None;
        console.letters.change(&id, |run| run.end = Some(end));
    });
    Ok(done(&headers, &message))
}

async fn carry_out(console: &Console, id: &str, selection: &Selection) -> Result<Report, String> {
    let mut desk = console.desk(selection.service.as_deref());
    let gathered = desk.gather().await;
    let letters = match gathered {
        Ok(gathered) => gathered.into_iter().filter(|letter| selection.picks(letter)).collect(),
        Err(error) => {
            desk.close().await;
            return Err(error.to_string());
        }
    };
    let (letters, plan) = plan(&mut desk, letters).await;
    let letters = sure(letters, &plan);
    console.letters.change(id, |run| run.left_out = reasons(&plan));
    let options = Options { canary: 1, pause: PAUSE, max_failures: 1, wait: WAIT };
    let told = |told: &Told| console.letters.change(id, |run| run.told = Some(told.clone()));
    let report = redrive(&mut desk, letters, id, options, told).await;
    desk.close().await;
    Ok(report)
}

/// The letters whose replay cannot repeat a call whose idempotency key is forgotten. The others need a person who has
/// looked, and the command line.
fn sure(letters: Vec<Letter>, plan: &Plan) -> Vec<Letter> {
    let is_unsure =
        |id: &String| plan.may_call_twice.contains(id) || plan.unknown.iter().any(|left| left.letter == *id);
    letters.into_iter().filter(|letter| !is_unsure(&letter.id)).collect()
}

fn reasons(plan: &Plan) -> BTreeMap<String, usize> {
    let old_call = "its call may have been made more than 24 hours ago. Look whether it was, for example in Stripe, and then \
                    use the command line.";
    let mut reasons = BTreeMap::new();
    let others = plan.left_out.iter().chain(&plan.unknown).map(|left| left.why.as_str());
    for why in others.chain(plan.may_call_twice.iter().map(|_| old_call)) {
        *reasons.entry(why.to_owned()).or_default() += 1;
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_tells_handled_letters_from_republished_ones() {
        let only = |handled, republished| Report { handled, republished, ..Report::default() };
        for (report, expected, is_explained) in [
            (only(2, 0), &[r#"good">2 handled"#][..], false),
            (only(1, 3), &[r#"good">1 handled"#, r#"warn">3 republished"#], true),
        ] {
            let page = verdict(&report).into_string();
            assert!(expected.iter().all(|badge| page.contains(badge)), "{page}");
            assert_eq!(page.contains("only publishes their events again"), is_explained, "{page}");
        }
    }
}
