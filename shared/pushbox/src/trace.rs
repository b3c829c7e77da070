//! W3C trace context, so that one trace id finds the whole story of an event.
//! <https://www.w3.org/TR/trace-context/>

use std::fmt;

use axum::http::HeaderMap;

/// The header, and the message attribute, that carries a trace from one service to the next.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The trace that a request is part of.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACEPARENT)?.to_str().ok()
}

/// Where in which trace we are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) sampled: bool,
}

impl Trace {
    /// Continues the trace of a `traceparent`, or begins a new one.
    pub(crate) fn continued(traceparent: Option<&str>) -> Self {
        let span_id = fastrand::u64(1..);
        match traceparent.and_then(Self::parse) {
            Some(parent) => Self { span_id, ..parent },
            None => Self { trace_id: fastrand::u128(1..), span_id, sampled: false },
        }
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
        };
        (valid && trace.trace_id != 0 && trace.span_id != 0).then_some(trace)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_or_begins() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
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
            let trace = Trace::continued(Some(&given));
            assert_eq!(trace.to_string().contains(id), goes_on, "{given}");
            assert_ne!(trace.span_id, 0x00f0_67aa_0ba9_02b7);
            assert_eq!(Trace::parse(&trace.to_string()), Some(trace));
        }
    }
}
