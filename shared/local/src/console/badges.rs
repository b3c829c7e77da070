//! The small parts that several pages share.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

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

/// The time of day. The whole time is in the title.
pub(super) fn time(time: Timestamp) -> Markup {
    html! { time datetime=(time) title=(time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC")) { (time.strftime("%H:%M:%S%.3f")) } }
}

/// A duration in at most two units.
pub(super) fn span(duration: SignedDuration) -> String {
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
pub(super) fn pretty(data: &str) -> String {
    let parsed = serde_json::from_str::<Value>(data).ok();
    parsed.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| data.to_owned())
}

/// A command line that does the same, with a button that copies it.
pub(super) fn command(text: &str) -> Markup {
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

/// Text within the single quotes of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a page says if it has nothing to list.
pub(super) fn empty(title: &str, text: Markup) -> Markup {
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
