//! JSON objects from outside. The errors do not contain values, because these may be personal data.

mod strict;

use std::fmt;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::Segment;

use strict::{Names, Strict};

/// The reason for a field that the type does not have.
pub(crate) const UNKNOWN: &str = "unknown";

/// An error in JSON, and its place.
#[derive(Debug, PartialEq)]
pub(crate) struct Unreadable {
    /// A [JSON pointer](https://www.rfc-editor.org/rfc/rfc6901). It has `*` for a name that no type declares,
    /// such as the key of a map.
    pub(crate) pointer: String,
    pub(crate) reason: String,
    /// Whether the text is JSON, with a wrong structure.
    pub(crate) is_json: bool,
}

/// Reads an object. Arrays are refused in place of objects at every depth.
pub(crate) fn read_object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Unreadable> {
    if json.trim_ascii_start().starts_with(b"[") {
        let reason = "not an object".to_owned();
        return Err(Unreadable { pointer: String::new(), reason, is_json: true });
    }
    // Tracking the path is slow, so only text with an error is read with it.
    let reader = &mut serde_json::Deserializer::from_slice(json);
    if let Ok(read) = T::deserialize(Strict::new(&mut *reader, None))
        && reader.end().is_ok()
    {
        return Ok(read);
    }
    let reader = &mut serde_json::Deserializer::from_slice(json);
    let read = read(&mut *reader, &Names::default())?;
    let rest = reader.end();
    rest.map_err(|_| Unreadable {
        pointer: String::new(),
        reason: "more follows".to_owned(),
        is_json: false,
    })?;
    Ok(read)
}

/// Reads an object. Refuses fields that `T` does not have.
pub(crate) fn read_only_known<T: DeserializeOwned>(
    fields: serde_json::Map<String, Value>,
) -> Result<T, Unreadable> {
    let names = Names::default();
    let given: Vec<String> = fields.keys().cloned().collect();
    let read = read(Value::Object(fields), &names)?;
    match given.into_iter().find(|name| !names.borrow().contains(name.as_str())) {
        Some(name) => {
            Err(Unreadable { pointer: format!("/{name}"), reason: UNKNOWN.to_owned(), is_json: true })
        }
        None => Ok(read),
    }
}

fn read<'de, T: Deserialize<'de>>(
    reader: impl Deserializer<'de, Error = serde_json::Error>,
    names: &Names,
) -> Result<T, Unreadable> {
    let read = serde_path_to_error::deserialize(Strict::new(reader, Some(names)));
    read.map_err(|error| Unreadable::of(&error, names))
}

/// Describes an error without the value that serde quotes.
pub(crate) fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&position).unwrap_or(&text);
    let starts_with = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    // The value is between these words and serde's expectation.
    if let Some(kind) =
        ["invalid type", "invalid value", "invalid length", "unknown variant", "unknown field"]
            .into_iter()
            .find(|kind| text.starts_with(kind))
    {
        let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
        return expected.map_or_else(|| kind.to_owned(), |expected| format!("{kind}, expected {expected}"));
    }
    // These messages name a field of the type.
    if starts_with(&["missing field `", "duplicate field `"]) || !error.is_data() {
        return text.to_owned();
    }
    without_quotations(text)
}

/// The messages of other libraries quote the text that they could not parse.
fn without_quotations(text: &str) -> String {
    let Some(begin) = text.find(['"', '`']) else { return text.to_owned() };
    let end = text.rfind(['"', '`']).unwrap_or(begin);
    format!("{}…{}", &text[..begin], &text[end + 1..])
}

impl Unreadable {
    fn of(error: &serde_path_to_error::Error<serde_json::Error>, names: &Names) -> Self {
        let names = names.borrow();
        let known = |name: &str| names.get(name).copied().unwrap_or("*");
        let segments = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", known(key))),
            Segment::Enum { variant } => Some(format!("/{}", known(variant))),
            Segment::Unknown => None,
        });
        // The path makes the position unnecessary.
        let reason = describe(error.inner());
        Self { pointer: segments.collect(), reason, is_json: error.inner().is_data() }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.pointer.is_empty() { Ok(()) } else { write!(f, " at {}", self.pointer) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[expect(dead_code, reason = "only read")]
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Order {
        lines: Vec<Line>,
        first: Option<Line>,
        #[serde(default)]
        by_name: BTreeMap<String, Line>,
        kind: Option<Kind>,
        at: Option<Timestamp>,
        pair: Option<(u8, u8)>,
        only: Option<Known>,
        raw: Option<Box<serde_json::value::RawValue>>,
    }

    #[expect(dead_code, reason = "only read")]
    #[derive(Debug, Deserialize)]
    struct Line {
        quantity: u32,
    }

    #[expect(dead_code, reason = "only read")]
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Kind {
        Gift,
        Parcel { weight: u32 },
        Lines(Vec<Line>),
    }

    #[expect(dead_code, reason = "only read")]
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Known {
        a: u8,
    }

    #[test]
    fn a_reason_says_where_but_never_what() {
        for (given, expected) in [
            (r#"{"lines":[{"quantity":"secret"}]}"#, "invalid type, expected u32 at /lines/0/quantity"),
            (r#"{"lines":[{"quantity":-5}]}"#, "invalid value, expected u32 at /lines/0/quantity"),
            (r#"{"lines":[{}]}"#, "missing field `quantity` at /lines/0"),
            (r#"{"lines":[],"lines":[]}"#, "duplicate field `lines`"),
            (r#"{"lines":"secret, expected secret"}"#, "invalid type, expected a sequence at /lines"),
            (r#"{"lines":[],"pair":[7]}"#, "invalid length, expected a tuple of size 2 at /pair"),
            (
                r#"{"lines":[],"kind":"secret"}"#,
                "unknown variant, expected one of `gift`, `parcel`, `lines` at /kind",
            ),
            (r#"{"lines":[],"only":{"secret":1}}"#, "unknown field, expected `a` at /only/*"),
            (r#"{"lines":[],"byName":{"secret":{}}}"#, "missing field `quantity` at /byName/*"),
            (r#"{"secret":nonsense}"#, "expected ident at /*"),
            (r#"{"lines":[]} {"secret":1}"#, "more follows"),
            (r#" [[]]"#, "not an object"),
            (r#""secret""#, "invalid type, expected struct Order"),
            ("nonsense", "expected ident"),
            ("", "EOF while parsing a value"),
        ] {
            let unreadable = read_object::<Order>(given.as_bytes()).expect_err(given);
            assert_eq!(unreadable.to_string(), expected, "{given}");
        }
        // The message of the library that parses times.
        for at in ["secret", "2026-11-20Tsecret", "se\\\"cret\\\"", "2026-11-20T12:00:00[secret]"] {
            let given = format!(r#"{{"lines":[],"at":"{at}"}}"#);
            let unreadable = read_object::<Order>(given.as_bytes()).expect_err(&given).to_string();
            assert!(!unreadable.contains("cret") && unreadable.ends_with(" at /at"), "{unreadable}");
        }
    }

    #[test]
    fn an_array_passes_for_an_object_at_no_depth() {
        for (given, expected) in [
            (r#"{"lines":[[1]]}"#, "struct Line at /lines/0"),
            (r#"{"lines":[],"first":[1]}"#, "struct Line at /first"),
            (r#"{"lines":[],"byName":{"secret":[1]}}"#, "struct Line at /byName/*"),
            (r#"{"lines":[],"kind":{"parcel":[1]}}"#, "struct variant Kind::Parcel at /kind/parcel"),
            (r#"{"lines":[],"kind":{"lines":[[1]]}}"#, "struct Line at /kind/lines/0"),
        ] {
            let unreadable = read_object::<Order>(given.as_bytes()).expect_err(given);
            assert_eq!(unreadable.to_string(), format!("invalid type, expected {expected}"), "{given}");
        }
        for given in [
            r#"{"lines":[{"quantity":1}],"first":{"quantity":1},"pair":[1,2],"raw":[[1]]}"#,
            r#"{"lines":[],"first":null,"kind":"gift","at":"2026-11-20T12:00:00Z","new":[[1]]}"#,
            r#"{"lines":[],"kind":{"parcel":{"weight":1}},"byName":{"a":{"quantity":1}}}"#,
            r#" {"lines":[],"kind":{"lines":[{"quantity":1}]}} "#,
        ] {
            read_object::<Order>(given.as_bytes()).expect(given);
        }
    }

    #[test]
    fn unknown_fields_are_refused_where_they_matter() {
        let read = |fields: Value| {
            let Value::Object(fields) = fields else { panic!("not an object") };
            read_only_known::<Line>(fields).map_err(|error| error.to_string())
        };
        assert!(read(json!({ "quantity": 1 })).is_ok());
        assert_eq!(read(json!({ "quantity": 1, "x": 1 })).expect_err("x"), "unknown at /x");
    }
}
