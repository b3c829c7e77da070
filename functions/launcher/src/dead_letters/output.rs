//! What the commands print: results on standard output, everything else on standard error.

use std::{fmt::Display, io::IsTerminal, path::Path};

use jiff::Timestamp;
use redrive::{CameBack, Group, LeftOut, Letter, MOST_LETTERS, Plan, Removal, Report, Stop, Told};
use serde::Serialize;
use serde_json::{Value, json};

use crate::terminal::{self, visible};

/// What a command says at its end. A letter is somebody else's text, so each line is made visible.
#[derive(Default)]
pub(super) struct Page(Vec<Line>);

enum Line {
    Result(String),
    Note(String),
}

impl Page {
    pub(super) fn note(&mut self, line: impl Display) {
        self.0.push(Line::Note(visible(&line.to_string())));
    }

    fn result(&mut self, line: impl Display) {
        self.0.push(Line::Result(visible(&line.to_string())));
    }

    fn json(value: &(impl Serialize + ?Sized)) -> Self {
        let mut page = Self::default();
        match serde_json::to_string_pretty(value) {
            Ok(json) => json.lines().for_each(|line| page.result(line)),
            Err(error) => page.note(format_args!("functions: {error}")),
        }
        page
    }

    pub(super) fn print(&self) -> Result<(), String> {
        for line in &self.0 {
            match line {
                Line::Result(line) => terminal::print(&format!("{line}\n"))?,
                Line::Note(line) => terminal::tell(&format!("{line}\n")),
            }
        }
        Ok(())
    }
}

/// How many ids one line lists.
const MOST_IDS: usize = 10;

/// The letters that were seen, whether they are chosen or not.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) letters: usize,
    /// How many there should be, if that is known.
    pub(super) expected: Option<usize>,
    pub(super) is_all: bool,
}

impl Seen {
    fn tell(self, page: &mut Page) {
        page.note(self.line());
        self.rest().into_iter().for_each(|note| page.note(note));
    }

    /// What to do if there may be more letters.
    pub(super) fn rest(self) -> Option<String> {
        let note = || {
            format!(
                "one command holds at most {MOST_LETTERS} letters, and there may be more: --service chooses"
            )
        };
        (!self.is_all).then(note)
    }

    fn line(self) -> String {
        let Self { letters: seen, expected, .. } = self;
        let all =
            expected.map_or_else(|| letters(seen), |expected| format!("{seen} of ~{}", letters(expected)));
        format!("saw {all}; letters that another process has leased are not listed")
    }
}

pub(super) fn groups(groups: &[Group], seen: Seen, now: Timestamp, as_json: bool) -> Page {
    if as_json {
        return Page::json(groups);
    }
    let head = ["GROUP", "SERVICE", "TYPE", "CODE", "N", "OLDEST", "NEWEST", "CAME BACK", "REASON"];
    let row = |group: &Group| {
        [
            group.group.clone(),
            group.service.clone(),
            group.r#type.clone().unwrap_or_else(|| "–".to_owned()),
            group.code.clone(),
            group.count.to_string(),
            age(group.oldest, now),
            age(group.newest, now),
            times(group.came_back),
            group.reason.clone(),
        ]
    };
    let mut page = table(head, groups.iter().map(row));
    seen.tell(&mut page);
    page
}

pub(super) fn list(letters: &[Letter], limit: usize, seen: Seen, now: Timestamp, as_json: bool) -> Page {
    let listed = &letters[..limit.min(letters.len())];
    if as_json {
        return Page::json(&listed.iter().map(|letter| summary(letter, false)).collect::<Vec<_>>());
    }
    let head = ["LETTER", "GROUP", "SERVICE", "TYPE", "CODE", "AGE", "CAME BACK", "REASON"];
    let row = |letter: &Letter| {
        [
            letter.id.clone(),
            letter.group(),
            letter.service.clone(),
            letter.event_type.clone().unwrap_or_else(|| "–".to_owned()),
            letter.code.clone(),
            age(letter.parked_at, now),
            times(letter.came_back),
            letter.shown_reason(false),
        ]
    };
    let mut page = table(head, listed.iter().map(row));
    if listed.len() < letters.len() {
        page.note(format_args!("{} more: --limit", letters.len() - listed.len()));
    }
    seen.tell(&mut page);
    page
}

pub(super) fn show(letter: &Letter, unmask: bool, as_json: bool) -> Page {
    let mut fields = summary(letter, unmask);
    fields["attributes"] = json!(letter.shown_attributes(unmask));
    fields["data"] = letter.payload(unmask).into();
    if as_json {
        return Page::json(&fields);
    }
    let mut page = Page::default();
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Object(attributes) => attributes.iter().for_each(|(name, value)| {
                page.result(format_args!("  {name}: {}", text(value)));
            }),
            value => page.result(format_args!("{name}: {}", text(value))),
        }
    }
    page
}

fn summary(letter: &Letter, unmask: bool) -> Value {
    let target = letter.target.as_ref();
    json!({
        "letter": letter.id,
        "group": letter.group(),
        "service": letter.service,
        "type": letter.event_type,
        "code": letter.code,
        "reason": letter.shown_reason(unmask),
        "parkedAt": letter.parked_at,
        "cameBack": letter.came_back,
        "replay": letter.replay,
        "topic": target.ok().map(|target| &target.topic),
        "receipt": target.ok().map(|target| &target.receipt),
        "notReplayable": target.err().map(ToString::to_string),
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn plan(plan: &Plan, first: Option<&Letter>, now: Timestamp, as_json: bool) -> Page {
    if as_json {
        return Page::json(plan);
    }
    let Plan { groups, targets, left_out, handled, may_call_twice, unknown } = plan;
    let mut page = Page::default();
    for (topic, service, count) in targets {
        page.note(format_args!("{} to {service} only (topic {topic})", letters(*count)));
    }
    for group in groups {
        let Group { group, code, count, oldest, reason, .. } = group;
        let oldest = age(*oldest, now);
        page.note(format_args!("  {group}  {count} {code}, the oldest from {oldest} ago: {reason}"));
    }
    if targets.is_empty() {
        page.note("there is no letter to replay");
    }
    for LeftOut { letter, why } in left_out {
        page.note(format_args!("left out: letter {letter}: {why}"));
    }
    if !handled.is_empty() {
        page.note(format_args!(
            "{} of them are handled already, so a replay only publishes their events again: letters {}",
            handled.len(),
            ids(handled)
        ));
    }
    if !may_call_twice.is_empty() {
        page.note(format_args!(
            "WARNING: {} of them may have made their call, such as a charge, more than 24 hours ago. Stripe has forgotten \
             the idempotency key, so a replay can charge twice. First look for the charge: letters {}",
            may_call_twice.len(),
            ids(may_call_twice)
        ));
    }
    for LeftOut { letter, why } in unknown {
        page.note(format_args!("WARNING: the receipt of letter {letter} cannot be read: {why}"));
    }
    if let Some(letter) = first {
        page.note(format_args!("the first one, without its values: {}", letter.payload(false)));
    }
    page
}

/// A line for each batch. On a terminal, the line changes while the batch runs.
pub(super) fn progress() -> impl FnMut(&Told) {
    let is_terminal = std::io::stderr().is_terminal();
    move |told| {
        let Told { is_canary, size, published, handled, republished, came_back } = *told;
        let name = if is_canary { "canary" } else { "ramp" };
        let again = if republished > 0 { format!("{republished} republished, ") } else { String::new() };
        let line =
            format!("{name:<7} {published:>3}/{size:<3} {handled} handled, {again}{came_back} came back");
        if handled + republished + came_back == size {
            terminal::tell(&format!("{}{line}\n", if is_terminal { "\r" } else { "" }));
        } else if is_terminal {
            terminal::tell(&format!("\r{line}"));
        }
    }
}

pub(super) fn report(report: &Report, as_json: bool) -> Page {
    let mut page = if as_json { Page::json(report) } else { Page::default() };
    if report.republished > 0 {
        page.note(format_args!(
            "{} republished: the service had handled these events before, so the replay only publishes their events again",
            report.republished
        ));
    }
    if as_json {
        return page;
    }
    for came_back in &report.came_back {
        let CameBack { letter, as_letter, reason } = came_back;
        page.note(format_args!("letter {letter} came back as {as_letter}: {reason}"));
    }
    for letter in &report.pending {
        page.note(format_args!(
            "letter {letter} has no verdict: its service has neither handled nor rejected it yet"
        ));
    }
    for letter in &report.not_removed {
        page.note(format_args!("letter {letter} is replayed, and may still be in its holder"));
    }
    if let Some(trouble) = &report.trouble {
        page.note(format_args!("the last error: {trouble}"));
    }
    match &report.stop {
        Some(Stop::Canary) => page.note("stopped: the first batch came back"),
        Some(Stop::Failures) => page.note("stopped: too many letters came back or have no verdict"),
        Some(Stop::Interrupted) => page.note("stopped: the command was told to stop"),
        Some(Stop::NotPublished(error)) => page.note(format_args!("stopped: {error}")),
        None => {}
    }
    page.result(format_args!(
        "{}: {} handled, {} republished, {} came back, {} pending, {} not sent",
        report.replay,
        report.handled,
        report.republished,
        report.came_back.len(),
        report.pending.len(),
        report.unsent
    ));
    page
}

pub(super) fn removal(removal: &Removal, path: &Path, as_json: bool) -> Page {
    if as_json {
        return Page::json(&json!({ "removal": removal, "export": path }));
    }
    let mut page = Page::default();
    if let Some(stop) = &removal.stop {
        page.note(format_args!("stopped: {stop}"));
    }
    let Removal { dropped, left, .. } = removal;
    page.result(format_args!("{dropped} dropped, {left} left; the export is {}", path.display()));
    page
}

/// A table whose columns are as wide as their widest cell. The last column has no limit.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Page {
    let rows = rows.map(|row| row.map(|cell| visible(&cell)));
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut page = Page::default();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        page.result(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    page
}

/// Such as `3 letters`.
pub(super) fn letters(count: usize) -> String {
    if count == 1 { "1 letter".to_owned() } else { format!("{count} letters") }
}

/// The first ids, and how many follow.
fn ids(letters: &[String]) -> String {
    let shown = letters.iter().take(MOST_IDS).map(String::as_str).collect::<Vec<_>>().join(", ");
    match letters.len().saturating_sub(MOST_IDS) {
        0 => shown,
        more => format!("{shown} and {more} more, which --dry-run --json lists"),
    }
}

fn times(count: u32) -> String {
    if count == 0 { "–".to_owned() } else { format!("{count}×") }
}

/// Such as `3d`.
fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs().max(0);
    let units: [(&dyn Display, i64); 3] = [(&"d", 86_400), (&"h", 3600), (&"m", 60)];
    let unit = units.into_iter().find(|(_, length)| seconds >= *length);
    unit.map_or_else(|| format!("{seconds}s"), |(name, length)| format!("{}{name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_many_letters_there_should_be() {
        for (seen, expected, line) in [
            (41, None, "saw 41 letters; letters that another process has leased are not listed"),
            (1, None, "saw 1 letter; letters that another process has leased are not listed"),
            (41, Some(43), "saw 41 of ~43 letters; letters that another process has leased are not listed"),
        ] {
            assert_eq!(Seen { letters: seen, expected, is_all: true }.line(), line);
        }
    }

    #[test]
    fn a_warning_lists_ten_letters() {
        for (count, end) in [(1, "0"), (10, "8, 9"), (12, "8, 9 and 2 more, which --dry-run --json lists")] {
            let listed = ids(&(0..count).map(|id| id.to_string()).collect::<Vec<_>>());
            assert!(listed.starts_with('0') && listed.ends_with(end), "{listed}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, expected) in [(-5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (3 * 86_400, "3d")] {
            let now = Timestamp::from_second(10_000_000).expect("a time");
            let time = Timestamp::from_second(10_000_000 - seconds).expect("a time");
            assert_eq!(age(time, now), expected);
        }
    }
}
