//! What the commands print: results on standard output, progress on standard error.

use std::{fmt::Display, io::IsTerminal, path::Path};

use jiff::Timestamp;
use redrive::{Group, LeftOut, Letter, MOST_LETTERS, Plan, Removal, Report, Stop, Told};
use serde::Serialize;
use serde_json::{Value, json};

/// The letters that were seen, whether they are chosen or not.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) letters: usize,
    /// How many there should be, if that is known.
    pub(super) expected: Option<u64>,
    pub(super) is_all: bool,
}

impl Seen {
    fn tell(self) {
        eprintln!("{}", self.line());
        if !self.is_all {
            eprintln!("one command holds at most {MOST_LETTERS} letters: --service chooses");
        }
    }

    fn line(self) -> String {
        let Self { letters, expected, is_all } = self;
        let all = expected.map(|expected| format!(" of ~{expected}")).unwrap_or_default();
        let rest = if is_all { "" } else { ", and there may be more" };
        format!("saw {letters}{all} letters{rest}; letters that another process has leased are not listed")
    }
}

pub(super) fn groups(groups: &[Group], seen: Seen, now: Timestamp, as_json: bool) {
    if as_json {
        return print_json(&groups);
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
    table(head, groups.iter().map(row));
    seen.tell();
}

pub(super) fn list(letters: &[Letter], limit: usize, seen: Seen, now: Timestamp, as_json: bool) {
    let listed = &letters[..limit.min(letters.len())];
    if as_json {
        return print_json(&listed.iter().map(|letter| summary(letter, false)).collect::<Vec<_>>());
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
    table(head, listed.iter().map(row));
    if listed.len() < letters.len() {
        eprintln!("{} more letters: --limit", letters.len() - listed.len());
    }
    seen.tell();
}

pub(super) fn show(letter: &Letter, unmask: bool, as_json: bool) {
    let mut fields = summary(letter, unmask);
    fields["attributes"] = json!(letter.shown_attributes(unmask));
    fields["data"] = letter.payload(unmask).into();
    if as_json {
        return print_json(&fields);
    }
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Object(attributes) => attributes.iter().for_each(|(name, value)| {
                println!("  {name}: {}", text(value));
            }),
            value => println!("{name}: {}", text(value)),
        }
    }
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

pub(super) fn plan(plan: &Plan, first: Option<&Letter>, now: Timestamp, as_json: bool) {
    if as_json {
        return print_json(plan);
    }
    let Plan { groups, targets, left_out, handled, may_call_twice, unknown } = plan;
    for (topic, service, count) in targets {
        eprintln!("{count} letters to {service} only (topic {topic})");
    }
    for group in groups {
        let Group { group, code, count, oldest, reason, .. } = group;
        eprintln!("  {group}  {count} {code}, the oldest from {} ago: {reason}", age(*oldest, now));
    }
    if targets.is_empty() {
        eprintln!("there is no letter to replay");
    }
    for LeftOut { letter, why } in left_out {
        eprintln!("left out: letter {letter}: {why}");
    }
    if !handled.is_empty() {
        eprintln!(
            "{} of them are handled already: a replay only publishes their events again",
            handled.len()
        );
    }
    if !may_call_twice.is_empty() {
        eprintln!(
            "WARNING: {} of them may have made their call, such as a charge, more than 24 hours ago. Stripe has forgotten \
             the idempotency key, so a replay can charge twice. First look for the charge: letters {}",
            may_call_twice.len(),
            may_call_twice.join(", ")
        );
    }
    for LeftOut { letter, why } in unknown {
        eprintln!("WARNING: the receipt of letter {letter} cannot be read: {why}");
    }
    if let Some(letter) = first {
        eprintln!("the first one, without its values: {}", letter.payload(false));
    }
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
            eprintln!("{}{line}", if is_terminal { "\r" } else { "" });
        } else if is_terminal {
            eprint!("\r{line}");
        }
    }
}

pub(super) fn report(report: &Report, as_json: bool) {
    if report.republished > 0 {
        eprintln!(
            "{} republished: the service had handled these events before, so the replay only publishes their events again",
            report.republished
        );
    }
    if as_json {
        return print_json(report);
    }
    for came_back in &report.came_back {
        eprintln!("letter {} came back as {}: {}", came_back.letter, came_back.as_letter, came_back.reason);
    }
    for letter in &report.pending {
        eprintln!("letter {letter} has no verdict: its service has neither handled nor rejected it yet");
    }
    for letter in &report.not_removed {
        eprintln!("letter {letter} is replayed, and may still be in its holder");
    }
    if let Some(trouble) = &report.trouble {
        eprintln!("the last error: {trouble}");
    }
    match &report.stop {
        Some(Stop::Canary) => eprintln!("stopped: the first batch came back"),
        Some(Stop::Failures) => eprintln!("stopped: too many letters came back or have no verdict"),
        Some(Stop::NotPublished(error)) => eprintln!("stopped: {error}"),
        None => {}
    }
    println!(
        "{}: {} handled, {} republished, {} came back, {} pending, {} not sent",
        report.replay,
        report.handled,
        report.republished,
        report.came_back.len(),
        report.pending.len(),
        report.unsent
    );
}

pub(super) fn removal(removal: &Removal, path: &Path, as_json: bool) {
    if as_json {
        return print_json(&json!({ "removal": removal, "export": path }));
    }
    if let Some(stop) = &removal.stop {
        eprintln!("stopped: {stop}");
    }
    println!("{} dropped, {} left; the export is {}", removal.dropped, removal.left, path.display());
}

fn print_json(value: &(impl Serialize + ?Sized)) {
    match serde_json::to_string_pretty(value) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("functions: {error}"),
    }
}

/// A table whose columns are as wide as their widest cell. The last column has no limit.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
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
        for (expected, is_all, line) in [
            (None, true, "saw 41 letters; letters that another process has leased are not listed"),
            (Some(43), true, "saw 41 of ~43 letters; letters that another process has leased are not listed"),
            (
                None,
                false,
                "saw 41 letters, and there may be more; letters that another process has leased are not listed",
            ),
        ] {
            assert_eq!(Seen { letters: 41, expected, is_all }.line(), line);
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
