//! The small parts that several pages share.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::Value;
use url::form_urlencoded;

/// The colour of a result. Only a handled event is good: an ignored event may have a misspelled type.
pub(super) fn tone(result: &str) -> &'static str {
    match result {
        "handled" => "good",
        "retry" | "ignored" => "warn",
        "reject" | "dead letter" => "bad",
        _ => "plain",
    }
}

/// A result, in its colour.
pub(super) fn badge(result: &str) -> Markup {
    html! { span.badge.(tone(result)) { (result) } }
}

/// The time of day, with the date if it is not today. The whole time is in the title.
pub(crate) fn time(time: Timestamp) -> Markup {
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    let is_today = day(time) == day(Timestamp::now());
    html! {
        time datetime=(time) title=(time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC")) {
            @if !is_today { (day(time)) " " }
            (time.strftime("%H:%M:%S%.3f"))
        }
    }
}

/// A part of a list.
pub(super) struct Rows {
    /// Counted from 1.
    page: usize,
    each: usize,
    total: usize,
}

impl Rows {
    /// `page` is the text in the URL. Anything but a number is the first page.
    pub(super) fn new(page: &str, each: usize, total: usize) -> Self {
        let last = total.div_ceil(each).max(1);
        Self { page: page.parse().unwrap_or(1).clamp(1, last), each, total }
    }

    /// The rows of the page.
    pub(super) fn of<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        let from = (self.page - 1) * self.each;
        all.get(from..(from + self.each).min(all.len())).unwrap_or_default()
    }

    /// Which rows these are, and links to the newer and the older ones. The links keep the filters.
    pub(super) fn links(&self, path: &str, filters: &[(&str, &str)]) -> Markup {
        let Self { page, each, total } = *self;
        let link = |page: usize| {
            let filters = filters.iter().filter(|(_, value)| !value.is_empty());
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(filters).append_pair("page", &page.to_string());
            format!("{path}?{}", query.finish())
        };
        html! {
            nav.pages aria-label="Pages of the list" hidden[total <= each] {
                @if page > 1 { a.button href=(link(page - 1)) { "← Newer" } }
                span { (each * (page - 1) + 1) "–" ((each * page).min(total)) " of " (total) ", the newest first" }
                @if each * page < total { a.button href=(link(page + 1)) { "Older →" } }
            }
        }
    }
}

/// A duration in at most two units.
pub(crate) fn span(duration: SignedDuration) -> String {
    let (seconds, millis) = (duration.as_secs().unsigned_abs(), duration.subsec_millis().unsigned_abs());
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{seconds}.{} s", millis / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Data as indented JSON if it is JSON, otherwise as it is.
pub(crate) fn pretty(data: &str) -> String {
    let parsed = serde_json::from_str::<Value>(data).ok();
    parsed.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| data.to_owned())
}

/// A command line that does the same, with a button that copies it.
pub(crate) fn command(text: &str) -> Markup {
    html! {
        div.command {
            code { (text) }
            button.quiet type="button" data-copy=(text) aria-label="Copy the command" { "Copy" }
        }
    }
}

/// A command line behind a disclosure.
pub(super) fn folded_command(text: &str) -> Markup {
    html! { details.shell { summary { "Command line" } (command(text)) } }
}

/// The same, if its values are not those of the form beside it.
pub(super) fn folded_example(text: &str) -> Markup {
    html! { details.shell { summary { "Command line, for example" } (command(text)) } }
}

/// Text within the single quotes of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a page says if it has nothing to list.
pub(crate) fn empty(title: &str, text: Markup) -> Markup {
    html! { div.empty { h2 { (title) } p { (text) } } }
}

/// A form with one button.
pub(super) fn action(path: &str, label: &str, class: &str) -> Markup {
    html! { form method="post" action=(path) data-action { button class=(class) { (label) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_at_most_two_units() {
        for (millis, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(SignedDuration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn quotes_survive_a_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
