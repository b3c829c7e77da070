//! Why a handler did not do its work, and what happens next.

use std::{error::Error, fmt};

/// What a handler returns when it could not do its work.
///
/// `?` turns every error into [`Failure::Retry`], the safe default; a rejection is always spelled
/// out. A business "no" is neither: it is an event and an `Ok`.
#[derive(Debug)]
pub enum Failure {
    /// Not now: Pub/Sub delivers again. The text is for the log.
    Retry(String),
    /// Never: the message becomes a dead letter with this reason, which has no personal data in it.
    Reject(String),
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        Self::Retry(text)
    }
}

/// A [`Failure::Reject`]: this message can never be handled, for this reason.
pub fn reject(reason: impl fmt::Display) -> Failure {
    Failure::Reject(reason.to_string())
}

/// What is wrong with a piece of JSON and where, without the values, which may be personal data.
pub(crate) fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> (String, String) {
    let text = error.inner().to_string();
    // serde writes the offending value between the kind and what it expected.
    let text = match (text.split_once(": "), text.rsplit_once(", expected ")) {
        (Some((kind, _)), Some((_, expected))) => format!("{kind}, expected {expected}"),
        _ => text,
    };
    // The position is of no use once the path is known.
    let text = text.split(" at line ").next().unwrap_or_default().to_owned();
    let pointer: String = error
        .path()
        .iter()
        .filter(|segment| !matches!(segment, serde_path_to_error::Segment::Unknown))
        .map(|segment| format!("/{segment}").replace(['[', ']'], ""))
        .collect();
    (pointer, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_say_where_but_never_what() {
        #[derive(Debug, serde::Deserialize)]
        struct Line {
            #[allow(dead_code)]
            quantity: u32,
        }
        for (given, expected) in [
            (r#"[{"quantity":"secret"}]"#, ("/0/quantity", "invalid type, expected u32")),
            (r#"[{"quantity":-5}]"#, ("/0/quantity", "invalid value, expected u32")),
            (r#"[{}]"#, ("/0", "missing field `quantity`")),
            (r#"nonsense"#, ("", "expected ident")),
        ] {
            let reader = &mut serde_json::Deserializer::from_str(given);
            let error = serde_path_to_error::deserialize::<_, Vec<Line>>(reader).expect_err(given);
            let (pointer, text) = describe(&error);
            assert_eq!((pointer.as_str(), text.as_str()), expected, "{given}");
        }
    }
}
