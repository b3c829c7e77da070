//! The replays from the page.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use jiff::Timestamp;
use maud::{Markup, html};
use pushbox::Problem;
use redrive::{Desk, Letter, Options, Plan, Report, Selection, Stop, Told, new_id, plan, replay as redrive};

use super::Console;
use crate::console::shared::{Form, done, invalid, time};

/// How many replays are remembered, besides those that run.
pub(super) const MOST_RUNS: usize = 20;

/// The pause after each publication.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a batch may take until its verdict.
const WAIT: Duration = Duration::from_secs(60);

/// The replays that are remembered, the newest first.
#[derive(Clone, Default)]
pub(super) struct Runs(VecDeque<Run>);

/// A replay from the page.
#[derive(Clone)]
struct Run {
    id: String,
    began: Timestamp,
    service: String,
    choice: Choice,
    /// How many letters are left out, by the reason.
    left_out: BTreeMap<String, usize>,
    told: Option<Told>,
    /// None while it runs.
    end: Option<End>,
}

/// What a person chose to replay, by its id.
#[derive(Clone, PartialEq)]
pub(super) enum Choice {
    Group(String),
    Letter(String),
}

#[derive(Clone)]
enum End {
    /// There was no such letter.
    NothingThere,
    Replayed {
        report: Report,
        /// The number of letters that were left out because their receipt cannot be read.
        unreadable: usize,
    },
    Failed(String),
}

impl Runs {
    /// Adds a replay, unless another one to the same service runs: it holds the service's letters.
    fn add(&mut self, run: Run) -> Result<(), Problem> {
        if let Some(Run { id, service, .. }) =
            self.0.iter().find(|other| other.service == run.service && other.end.is_none())
        {
            let detail = format!("The replay {id} to {service} still runs. Wait for its result.");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        self.0.push_front(run);
        let mut ended = 0;
        self.0.retain(|run| {
            ended += usize::from(run.end.is_some());
            run.end.is_none() || ended <= MOST_RUNS
        });
        Ok(())
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.0.iter_mut().find(|run| run.id == id) {
            change(run);
        }
    }

    /// Whether a replay of this choice has published letters since `at`, or may still do so.
    pub(super) fn has(&self, service: &str, choice: &Choice, at: Timestamp) -> bool {
        let is_it = |run: &&Run| run.service == service && run.choice == *choice;
        self.0.iter().filter(is_it).any(|run| run.began >= at && run.has_published())
    }

    /// How many letters are gone since `at`, because a replay has handled them.
    pub(super) fn gone(&self, at: Timestamp) -> usize {
        let gone = |run: &Run| match &run.end {
            Some(End::Replayed { report, .. }) => report.handled + report.republished,
            _ => 0,
        };
        self.0.iter().filter(|run| run.began >= at).map(gone).sum()
    }

    pub(super) fn shown(&self) -> Markup {
        html! {
            section data-part="replays" aria-label="Replays" {
                @if !self.0.is_empty() {
                    h2 { "Replays" }
                    div.scroll tabindex="0" role="region" aria-label="Replays" { table.stacks {
                        thead { tr { th { "Began" } th { "Replay" } th { "Service" } th { "Result" } } }
                        tbody { @for run in &self.0 { (row(run)) } }
                    } }
                }
            }
        }
    }
}

impl Run {
    fn has_published(&self) -> bool {
        match &self.end {
            None => true,
            Some(End::Replayed {
                report: Report { handled, republished, came_back, pending, .. }, ..
            }) => handled + republished + came_back.len() + pending.len() > 0,
            Some(End::NothingThere | End::Failed(_)) => false,
        }
    }
}

fn row(run: &Run) -> Markup {
    let Run { id, began, service, left_out, told, end, .. } = run;
    html! {
        tr data-busy[end.is_none()] {
            td data-label="Began" { (time(*began)) } td data-label="Replay" { code.id { (id) } } td.id data-label="Service" { (service) }
            td data-label="Result" {
                @match end {
                    None => span.badge.warn { @if let Some(told) = told { (told.handled) " of " (told.size) " handled" } @else { "begins" } },
                    Some(End::NothingThere) => {
                        span.badge.plain { "nothing to replay" }
                        " " small { "Nothing to replay: the letters are gone, or another process holds them for up to a minute." }
                    },
                    Some(End::Replayed { report, unreadable }) => (verdict(report, *unreadable)),
                    Some(End::Failed(error)) => { span.badge.bad { "failed" } " " small { (error) } },
                }
                @for (why, count) in left_out { p { (count) @if *count == 1 { " letter is" } @else { " letters are" } " left out: " (why) } }
            }
        }
    }
}

fn verdict(report: &Report, unreadable: usize) -> Markup {
    let Report { handled, republished, came_back, pending, unsent, stop, trouble, .. } = report;
    let tone = match (report.exit_code(), handled) {
        (0, 0) => "plain",
        (0, _) => "good",
        _ => "bad",
    };
    html! {
        span.badge.(tone) { (handled) " handled" }
        @if unreadable > 0 { " " span.badge.bad { (unreadable) " with an unreadable receipt" } }
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
            Some(Stop::Interrupted) => { " " small { "It was told to stop." } },
            None => {},
        }
        @if let Some(trouble) = trouble { " " small { (trouble) } }
    }
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
    if console.deployment.catalog.services.iter().all(|entry| entry.name != service) {
        return Err(invalid(format_args!("There is no service {service}.")));
    }
    let choice = match (form.text("group"), form.text("letter")) {
        (Some(group), None) => Choice::Group(group.to_owned()),
        (None, Some(letter)) => Choice::Letter(letter.to_owned()),
        _ => return Err(invalid("Either group or letter chooses what to replay.")),
    };
    let began = Timestamp::now();
    let mut selection =
        Selection { service: Some(service.clone()), before: Some(began), ..Selection::default() };
    match &choice {
        Choice::Group(group) => selection.group = Some(group.clone()),
        Choice::Letter(letter) => selection.ids = [letter.clone()].into(),
    }
    let id = new_id();
    let message = format!("The replay {id} to {service} has begun.");
    let run =
        Run { id: id.clone(), began, service, choice, left_out: BTreeMap::new(), told: None, end: None };
    console.letters.lock().runs.add(run)?;
    tokio::spawn(async move {
        let mut desk = console.desk(selection.service.as_deref());
        let end = carry_out(&console, &mut desk, &id, &selection).await.unwrap_or_else(End::Failed);
        desk.close().await;
        console.letters.lock().runs.change(&id, |run| run.end = Some(end));
    });
    Ok(done(&headers, &message))
}

async fn carry_out(
    console: &Console,
    desk: &mut Desk,
    id: &str,
    selection: &Selection,
) -> Result<End, String> {
    let gathered = desk.gather().await.map_err(|error| error.to_string())?;
    let letters: Vec<Letter> = gathered.into_iter().filter(|letter| selection.picks(letter)).collect();
    if letters.is_empty() {
        return Ok(End::NothingThere);
    }
    let (letters, plan) = plan(desk, letters).await;
    let letters = sure(letters, &plan);
    console.letters.lock().runs.change(id, |run| run.left_out = reasons(&plan));
    let options = Options { canary: 1, pause: PAUSE, max_failures: 1, wait: WAIT };
    let told = |told: &Told| console.letters.lock().runs.change(id, |run| run.told = Some(told.clone()));
    let report = redrive(desk, letters, id, options, told).await;
    Ok(End::Replayed { report, unreadable: plan.unknown.len() })
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
    let unknown = |why: &str| format!("its receipt in Firestore cannot be read: {why}");
    let others = plan.left_out.iter().map(|left| left.why.clone());
    let others = others.chain(plan.unknown.iter().map(|left| unknown(&left.why)));
    let mut reasons = BTreeMap::new();
    for why in others.chain(plan.may_call_twice.iter().map(|_| old_call.to_owned())) {
        *reasons.entry(why).or_default() += 1;
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
            let page = verdict(&report, 0).into_string();
            assert!(expected.iter().all(|badge| page.contains(badge)), "{page}");
            assert_eq!(page.contains("only publishes their events again"), is_explained, "{page}");
        }
    }

    #[test]
    fn a_replay_that_runs_is_never_forgotten() {
        let run = |service: &str, end| Run {
            id: service.to_owned(),
            began: Timestamp::UNIX_EPOCH,
            service: service.to_owned(),
            choice: Choice::Letter(String::new()),
            left_out: BTreeMap::new(),
            told: None,
            end,
        };
        let mut runs = Runs::default();
        runs.add(run("slow-service", None)).expect("the first replay");
        for _ in 0..2 * MOST_RUNS {
            runs.add(run("crm-service", Some(End::NothingThere))).expect("a replay that has ended");
        }
        assert_eq!(runs.0.len(), 1 + MOST_RUNS);
        assert_eq!(runs.0.back().map(|run| &*run.id), Some("slow-service"));
    }
}
