//! What a person pastes to find an event: a part of a log line, a whole one, or an id.

use pushbox::wire::attribute;
use redrive::Letter;
use serde_json::Value;

/// An event that is sought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sought {
    /// The `key` of a log line: the source and the id of an event, or a subscription and a message id. It can also be one
    /// id alone.
    pub(super) key: String,
    /// Tells which services should have handled the event.
    pub(super) event_type: Option<String>,
    /// The id of the story's beginning.
    pub(super) root: Option<String>,
}

impl Sought {
    /// The event of a letter as text, if its attributes tell it.
    pub(super) fn of_letter(letter: &Letter) -> Option<String> {
        let value = |name: &str| letter.attributes.get(name).filter(|value| !value.is_empty());
        let root = value(attribute::CORRELATION_ID);
        let key = || Some(format!("key={} {}", value(attribute::SOURCE)?, value(attribute::ID)?));
        let parts = [
            root.map(|root| format!("{}={root}", attribute::CORRELATION_ID)),
            letter.event_type.as_ref().map(|event_type| format!("eventType={event_type}")),
            Some(key().or_else(|| root.map(|root| format!("key={root}")))?),
        ];
        Some(parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }

    /// Reads the pasted text. The log of a service is text for people, or JSON for Cloud Logging.
    pub(super) fn of(pasted: &str) -> Self {
        let text = pasted.trim().trim_end_matches(',');
        // Cloud Logging shows a field of an entry as `"key": "…"`.
        let json = [text.to_owned(), format!("{{{text}}}")];
        if let Some(found) = json.iter().find_map(|json| of_json(&serde_json::from_str(json).ok()?)) {
            return found;
        }
        let text = text.trim_start_matches("key:");
        let field = |name| field(text, name).map(|value| bare(&value).to_owned());
        let root = field(attribute::CORRELATION_ID);
        let key = field("key").or_else(|| root.clone()).unwrap_or_else(|| bare(text).to_owned());
        Self { key, event_type: field("eventType"), root }
    }
}

fn of_json(json: &Value) -> Option<Sought> {
    let text = |name: &str| {
        let found = json.get(name).or_else(|| json.get("jsonPayload")?.get(name));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    Some(Sought { key: text("key")?, event_type: text("eventType"), root: None })
}

/// The value of `name=value …`. It ends before the next name.
fn field(text: &str, name: &str) -> Option<String> {
    let named = |word: &str| {
        let (name, value) = word.split_once('=')?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        is_name.then(|| (name.to_owned(), value.to_owned()))
    };
    let mut words =
        text.split_whitespace().skip_while(|word| named(word).is_none_or(|(found, _)| found != name));
    let (_, first) = named(words.next()?)?;
    let rest = words.take_while(|word| named(word).is_none());
    Some([first.as_str()].into_iter().chain(rest).collect::<Vec<_>>().join(" "))
}

fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ['"', '\'', '`', ','].contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_pastes_is_understood() {
        let key = "//pushbox/user-service 4896-0";
        let line = "16:15:13  INFO crm-service            delivery: handled eventType=user.created \
                    key=//pushbox/user-service 4896-0 messageId=7 attempt=1 milliseconds=3";
        let payload = r#""severity":"INFO","eventType":"user.created","key":"//pushbox/user-service 4896-0""#;
        for (pasted, event_type) in [
            (key.to_owned(), None),
            (format!(" \"{key}\" "), None),
            (format!("'{key}',"), None),
            (format!("key={key}"), None),
            (format!("key=\"{key}\" messageId=7"), None),
            (format!("\"key\": \"{key}\","), None),
            (format!("key: \"{key}\""), None),
            (format!("eventType=user.created key={key}"), Some("user.created")),
            (line.to_owned(), Some("user.created")),
            (format!("{{{payload}}}"), Some("user.created")),
            (format!("{{\"jsonPayload\":{{{payload}}}}}"), Some("user.created")),
        ] {
            let event_type = event_type.map(str::to_owned);
            let expected = Sought { key: key.to_owned(), event_type, root: None };
            assert_eq!(Sought::of(&pasted), expected, "{pasted}");
        }
        for (pasted, key) in [("4896-0", "4896-0"), ("", ""), ("=", "="), ("//x/y?a=b 1", "//x/y?a=b 1")] {
            assert_eq!(Sought::of(pasted), Sought { key: key.to_owned(), ..Sought::default() }, "{pasted}");
        }
    }
}
