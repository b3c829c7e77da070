//! What a letter shows without its values, which may be personal data.

use std::collections::BTreeMap;

use pushbox::wire::attribute;
use serde_json::Value;

use crate::{Letter, groups::without_values};

/// How many items of a list are shown.
const ITEMS: usize = 3;

/// The most bytes of masked data that are shown.
const MOST_BYTES: usize = 16 << 10;

/// What the names of attributes begin with whose values are shown: they identify and route the message.
const SHOWN: [&str; 7] =
    ["ce-", "dead-letter-", "replay-", "CloudPubSub", "traceparent", "tracestate", "content-type"];

const MASK: &str = "…";

impl Letter {
    /// The data as text. Unless `unmasked`, it has the structure of the JSON, but no text and no number of it.
    #[must_use]
    pub fn payload(&self, unmasked: bool) -> String {
        if unmasked {
            return self.text(true);
        }
        let (mut beginning, more) = self.excerpt(false, MOST_BYTES);
        if more > 0 {
            beginning.push_str(&format!("… {} KiB more", more.div_ceil(1024)));
        }
        beginning
    }

    /// The first `most` bytes of the same text, and the number of bytes that follow.
    #[must_use]
    pub fn excerpt(&self, unmasked: bool, most: usize) -> (String, usize) {
        let mut text = self.text(unmasked);
        let length = text.len();
        text.truncate(text.floor_char_boundary(most));
        let more = length - text.len();
        (text, more)
    }

    fn text(&self, unmasked: bool) -> String {
        if unmasked {
            return String::from_utf8_lossy(&self.data).into_owned();
        }
        match serde_json::from_slice(&self.data) {
            Ok(json) => without_data(json).to_string(),
            Err(_) => format!("{} bytes that are not JSON", self.data.len()),
        }
    }

    /// The attributes. Unless `unmasked`, those of the project have no values.
    #[must_use]
    pub fn shown_attributes(&self, unmasked: bool) -> BTreeMap<String, String> {
        if unmasked {
            return self.attributes.clone();
        }
        let show = |(name, value): (&String, &String)| {
            let value = match name.as_str() {
                attribute::DEAD_LETTER_REASON => without_values(value),
                name if SHOWN.iter().any(|shown| name.starts_with(shown)) => value.clone(),
                _ => MASK.to_owned(),
            };
            (masked_name(name.clone()), value)
        };
        self.attributes.iter().map(show).collect()
    }

    /// The reason. Unless `unmasked`, it has `…` in place of quoted texts, numbers and ids.
    #[must_use]
    pub fn shown_reason(&self, unmasked: bool) -> String {
        if unmasked { self.reason.clone() } else { without_values(&self.reason) }
    }
}

/// Whether a text names something, such as a field or a type of event. Keys of a map can be data, such as addresses.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn masked_name(name: String) -> String {
    if is_name(&name) { name } else { MASK.to_owned() }
}

/// The masked JSON of an event. Its field `event` stays if it is the event's type.
fn without_data(json: Value) -> Value {
    let Value::Object(mut fields) = json else { return masked(json) };
    let event_type = fields.remove("event").map(|event| match &event {
        Value::String(text) if is_name(text) => event,
        _ => masked(event),
    });
    let masked = masked(Value::Object(fields));
    match (masked, event_type) {
        (Value::Object(mut fields), Some(event)) => {
            fields.insert("event".to_owned(), event);
            Value::Object(fields)
        }
        (masked, _) => masked,
    }
}

/// The same JSON with `…` in place of each text, each number, each key that is no name, and the end of a long list.
fn masked(json: Value) -> Value {
    match json {
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (masked_name(name), masked(value))).collect(),
        ),
        Value::Array(items) => {
            let more = (items.len() > ITEMS).then(|| MASK.into());
            Value::Array(items.into_iter().take(ITEMS).map(masked).chain(more).collect())
        }
        Value::String(_) | Value::Number(_) => MASK.into(),
        other @ (Value::Null | Value::Bool(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::Unreplayable;

    fn letter(data: String, attributes: &[(&str, &str)]) -> Letter {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Letter {
            service: "shop".to_owned(),
            holder: "shop-dead-letter".to_owned(),
            id: "1".to_owned(),
            event_type: None,
            code: "rejected".to_owned(),
            reason: "there is no user \"dora@example.com\"".to_owned(),
            parked_at: Timestamp::UNIX_EPOCH,
            came_back: 0,
            replay: None,
            target: Err(Unreplayable::UnknownTopic),
            attributes: attributes.collect(),
            data: data.into(),
        }
    }

    #[test]
    fn data_has_only_its_structure_and_the_type_of_the_event() {
        for (data, expected) in [
            (
                json!({"event": "user.created", "age": 7, "is": true}),
                r#"{"age":"…","event":"user.created","is":true}"#,
            ),
            (json!({"event": "dora@example.com"}), r#"{"event":"…"}"#),
            (json!({"event": {"email": "dora"}}), r#"{"event":{"email":"…"}}"#),
            (json!({"event": ["dora"]}), r#"{"event":["…"]}"#),
            (json!({"event": 7}), r#"{"event":"…"}"#),
            (json!({"note": {"event": "dora"}}), r#"{"note":{"event":"…"}}"#),
            (json!([{"event": "dora"}]), r#"[{"event":"…"}]"#),
            (json!({"dora@example.com": 1, "+4915112": 2, "a_b-c.d": 3}), r#"{"a_b-c.d":"…","…":"…"}"#),
            (json!([1, 2, 3]), r#"["…","…","…"]"#),
            (json!([1, {"a": 2}, null, 4, 5]), r#"["…",{"a":"…"},null,"…"]"#),
        ] {
            assert_eq!(letter(data.to_string(), &[]).payload(false), expected, "{data}");
        }
        assert_eq!(letter("dora".to_owned(), &[]).payload(false), "4 bytes that are not JSON");
    }

    #[test]
    fn masked_data_is_short() {
        let data: BTreeMap<String, u32> = (0..4000).map(|field| (format!("field_{field}"), field)).collect();
        let shown = letter(json!(data).to_string(), &[]).payload(false);
        assert!(shown.len() < MOST_BYTES + 32 && shown.ends_with("… 58 KiB more"), "{shown}");
    }

    #[test]
    fn attributes_of_the_project_have_no_values() {
        let attributes = [
            ("ce-type", "user.created"),
            ("dead-letter-reason", "there is no user \"dora@example.com\""),
            ("CloudPubSubDeadLetterSourceDeliveryCount", "5"),
            ("traceparent", "00-1"),
            ("email", "dora@example.com"),
            ("dora@example.com", "1"),
        ];
        let letter = letter(String::new(), &attributes);
        let shown = |unmasked| letter.shown_attributes(unmasked).into_iter().collect::<Vec<_>>();
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut masked = attributes;
        (masked[1].1, masked[4].1, masked[5]) = ("there is no user …", "…", ("…", "…"));
        for (unmasked, mut expected) in [(true, attributes.map(text)), (false, masked.map(text))] {
            expected.sort();
            assert_eq!(shown(unmasked), expected, "unmasked: {unmasked}");
        }
        assert_eq!(letter.shown_reason(false), "there is no user …");
    }
}
