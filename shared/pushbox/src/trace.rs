//! [W3C trace context](https://www.w3.org/TR/trace-context/): one trace id finds everything that an event
//! caused.

use std::{borrow::Cow, fmt, sync::Arc};

use axum::http::{HeaderMap, header::AsHeaderName};

use crate::wire::attribute::{TRACEPARENT, TRACESTATE};

/// The attributes of a message that name its trace, by precedence: the standard's, those of Google's client
/// libraries, and those of
/// [CloudEvents](https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md).
pub(crate) const TRACE_ATTRIBUTES: [(&str, &str); 3] = [
    (TRACEPARENT, TRACESTATE),
    ("googclient_traceparent", "googclient_tracestate"),
    ("ce-traceparent", "ce-tracestate"),
];

/// Longer states are dropped. The standard requires
/// [at least this length](https://www.w3.org/TR/trace-context/#tracestate-limits).
const LONGEST_STATE: usize = 512;

/// A position in a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) sampled: bool,
    state: Option<Arc<str>>,
}

impl Trace {
    /// Continues the trace of a request, or begins a new one.
    pub(crate) fn of_request(headers: &HeaderMap) -> Self {
        Self::parent_of_request(headers).map_or_else(Self::begun, Self::continued)
    }

    /// Continues the trace of a message. Without one it continues the trace of the request, or begins a new
    /// trace.
    pub(crate) fn of_message<'a>(
        attribute: impl Fn(&'static str) -> Option<&'a str>,
        headers: &HeaderMap,
    ) -> Self {
        let parents = TRACE_ATTRIBUTES.into_iter().filter_map(|(parent, state)| {
            Some(Self::parse(attribute(parent)?)?.with_state(attribute(state)))
        });
        let parent = { parents }.next().or_else(|| Self::parent_of_request(headers));
        parent.map_or_else(Self::begun, Self::continued)
    }

    /// The [`TRACESTATE`], if the trace has one.
    pub(crate) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// `traceparent` must occur once, but `tracestate` may occur several times.
    fn parent_of_request(headers: &HeaderMap) -> Option<Self> {
        let parent = Self::parse(&joined(headers, TRACEPARENT)?)?;
        Some(parent.with_state(joined(headers, TRACESTATE).as_deref()))
    }

    fn begun() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), sampled: false, state: None }
    }

    fn continued(parent: Self) -> Self {
        Self { span_id: fastrand::u64(1..), ..parent }
    }

    fn with_state(self, state: Option<&str>) -> Self {
        let is_state = |state: &&str| {
            (1..=LONGEST_STATE).contains(&state.len())
                && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        Self { state: state.map(str::trim).filter(is_state).map(Arc::from), ..self }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let valid = hex(version, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none())
            && hex(trace_id, 32)
            && hex(span_id, 16)
            && hex(flags, 2);
        let trace = Self {
            trace_id: u128::from_str_radix(trace_id, 16).ok()?,
            span_id: u64::from_str_radix(span_id, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
            state: None,
        };
        (valid && trace.trace_id != 0 && trace.span_id != 0).then_some(trace)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// The values of a header, joined with commas.
pub(crate) fn joined<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = values.next()?;
    Some(values.fold(first.into(), |all, value| format!("{all},{value}").into()))
}

/// The value of a header that occurs once.
pub(crate) fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn a_trace_goes_on_or_begins() {
        let id = ID;
        for (given, goes_on) in [
            (format!("00-{id}-00f067aa0ba902b7-01"), true),
            (format!("00-{id}-00f067aa0ba902b7-00"), true),
            (format!("01-{id}-00f067aa0ba902b7-01-later"), true),
            (format!("00-{id}-00f067aa0ba902b7-01-x"), false),
            (format!("ff-{id}-00f067aa0ba902b7-01"), false),
            (format!("00-{id}-0000000000000000-01"), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()), false),
            (String::from("nonsense"), false),
        ] {
            let trace = Trace::of_request(&headers(&[(TRACEPARENT, &given)]));
            assert_eq!(trace.to_string().contains(id), goes_on, "{given}");
            assert_ne!(trace.span_id, 0x00f0_67aa_0ba9_02b7);
            assert_eq!(Trace::parse(&trace.to_string()), Some(trace));
        }
    }

    #[test]
    fn a_state_goes_on_with_its_trace() {
        let parent = &*format!("00-{ID}-00f067aa0ba902b7-01");
        let (longest, too_long) = (format!("a={}", "x".repeat(510)), format!("a={}", "x".repeat(511)));
        for (given, state) in [
            (&[(TRACEPARENT, parent), (TRACESTATE, "a=1,b=2")][..], Some("a=1,b=2")),
            (&[(TRACEPARENT, parent), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")], Some("a=1,b=2")),
            (&[(TRACEPARENT, parent), (TRACESTATE, &longest)], Some(&*longest)),
            (&[(TRACEPARENT, parent), (TRACESTATE, &too_long)], None),
            (&[(TRACEPARENT, parent), (TRACESTATE, "")], None),
            (&[(TRACEPARENT, parent)], None),
            (&[(TRACEPARENT, "nonsense"), (TRACESTATE, "a=1")], None),
            (&[(TRACEPARENT, parent), (TRACEPARENT, parent), (TRACESTATE, "a=1")], None),
        ] {
            assert_eq!(Trace::of_request(&headers(given)).state(), state, "{given:?}");
        }
    }
}
