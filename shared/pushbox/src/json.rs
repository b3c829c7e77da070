//! Reading JSON objects from outside, and saying what is wrong with them without the values, which
//! may be personal data.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

/// What is wrong with a piece of JSON, and where.
#[derive(Debug, PartialEq)]
pub(crate) struct Unreadable {
    /// A [JSON pointer](https://www.rfc-editor.org/rfc/rfc6901).
    pub(crate) pointer: String,
    pub(crate) reason: String,
    /// It is JSON, only not of the right form.
    pub(crate) is_json: bool,
}

/// Reads an object. To serde an array of the values, in the order of the fields, would do as well.
pub(crate) fn read_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, Unreadable> {
    if json.trim_ascii_start().starts_with(b"[") {
        let reason = "not an object".to_owned();
        return Err(Unreadable { pointer: String::new(), reason, is_json: true });
    }
    // To follow the path costs more than to read, so only what cannot be read is read with it.
    if let Ok(read) = serde_json::from_slice(json) {
        return Ok(read);
    }
    let reader = &mut serde_json::Deserializer::from_slice(json);
    let read = serde_path_to_error::deserialize(&mut *reader).map_err(|error| Unreadable::of(&error))?;
    let rest = reader.end();
    rest.map_err(|_| Unreadable {
        pointer: String::new(),
        reason: "more follows".to_owned(),
        is_json: false,
    })?;
    Ok(read)
}

impl Unreadable {
    fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let text = error.inner().to_string();
        // serde writes the offending value between the kind and what it expected.
        let text = match (text.split_once(": "), text.rsplit_once(", expected ")) {
            (Some((kind, _)), Some((_, expected))) => format!("{kind}, expected {expected}"),
            _ => text,
        };
        // The position is of no use once the path is known.
        let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
        let segments = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{key}")),
            Segment::Enum { variant } => Some(format!("/{variant}")),
            Segment::Unknown => None,
        });
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
    use super::*;

    #[test]
    fn a_reason_says_where_but_never_what() {
        #[derive(Debug, serde::Deserialize)]
        struct Order {
            #[expect(dead_code, reason = "only read")]
            lines: Vec<Line>,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Line {
            #[expect(dead_code, reason = "only read")]
            quantity: u32,
        }
        for (given, expected) in [
            (r#"{"lines":[{"quantity":"secret"}]}"#, "invalid type, expected u32 at /lines/0/quantity"),
            (r#"{"lines":[{"quantity":-5}]}"#, "invalid value, expected u32 at /lines/0/quantity"),
            (r#"{"lines":[{}]}"#, "missing field `quantity` at /lines/0"),
            (r#"{"lines":[]} {"secret":1}"#, "more follows"),
            (r#" [[]]"#, "not an object"),
            (r#""secret""#, "invalid type, expected struct Order"),
            ("nonsense", "expected ident"),
            ("", "EOF while parsing a value"),
        ] {
            let unreadable = read_object::<Order>(given.as_bytes()).expect_err(given);
            assert_eq!(unreadable.to_string(), expected, "{given}");
        }
    }
}
