//! The rules that hold in every settled world.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use catalog::Catalog;
use pushbox::{Message, store::Fields};
use serde_json::Value;
use tracing::{Metadata, field, span};

use crate::{
    ledger::{Call, Ledger, Receipt},
    outside::Repeats,
};

/// If at least this many store calls of a request failed, the outcome of its call to the outside
/// may not have been recorded. Then the call may be repeated.
const OUTAGE: usize = 3;

/// Checks all rules. An error is the rule, a colon, and how it was broken.
pub(crate) fn check(ledger: &Ledger, catalog: &Catalog, heard: &Heard) -> Result<(), String> {
    if let Some(violation) = ledger.violations.first() {
        return Err(violation.clone());
    }
    for receipt in ledger.receipts.values() {
        if receipt.is_claimed() && !is_kept_for_a_replay(ledger, receipt) {
            return Err(format!("no claim is left: {} has one", receipt.service));
        }
        if receipt.is_pending {
            return Err(format!("no receipt is pending: {} has one", receipt.service));
        }
    }
    handled_once(ledger, catalog)?;
    calls(ledger)?;
    if let Some(line) = heard.found() {
        return Err(format!("no log line holds personal data: {line}"));
    }
    for (service, _, reason) in ledger.dead_lettered() {
        if heard.is_personal(&reason) {
            return Err(format!("no dead letter's reason holds personal data: {service}: {reason}"));
        }
    }
    Ok(())
}

/// A call that is rejected after another attempt may have made it keeps its claim, and with it the
/// idempotency key. The message is a dead letter.
pub(crate) fn is_kept_for_a_replay(ledger: &Ledger, receipt: &Receipt) -> bool {
    let is_this = |(service, event, _): (String, String, String)| {
        service == receipt.service && Some(&event) == receipt.event.as_ref()
    };
    let is_dead_letter = ledger.dead_lettered().any(is_this);
    is_dead_letter && receipt.is_refused
}

/// Each subscriber handles each event exactly once, or dead-letters it.
fn handled_once(ledger: &Ledger, catalog: &Catalog) -> Result<(), String> {
    let mut handled = BTreeMap::<(&str, &str), usize>::new();
    for seen in &ledger.handled {
        *handled.entry((&seen.service, &seen.event)).or_default() += 1;
    }
    let dead_lettered: BTreeSet<(String, String)> =
        ledger.dead_lettered().map(|(service, event, _)| (service, event)).collect();
    for published in &ledger.published {
        let event_type = event_type(&published.message);
        let subscriptions = catalog
            .services
            .iter()
            .flat_map(|service| service.subscriptions.iter().map(move |wired| (service, wired)));
        for (service, wired) in subscriptions {
            if wired.topic != published.message.topic
                || !event_type.as_ref().is_some_and(|name| wired.handles.contains(name))
            {
                continue;
            }
            let event = published.event();
            let times = handled.get(&(&service.name, &event)).copied().unwrap_or(0);
            let is_dead_letter = times == 0 && dead_lettered.contains(&(service.name.clone(), event.clone()));
            if times != 1 && !is_dead_letter {
                return Err(format!(
                    "each event is handled once: {} handled {event} {times} times",
                    service.name
                ));
            }
        }
    }
    Ok(())
}

pub(crate) fn event_type(message: &Message) -> Option<String> {
    let from_data = || {
        let data: Value = serde_json::from_slice(&message.data).ok()?;
        Some(data["event"].as_str()?.to_owned())
    };
    message.attributes.get("ce-type").cloned().or_else(from_data)
}

/// A call is repeated only in these cases. The process died, or could not reach the store ([`OUTAGE`]),
/// between the call and its record. The store refused the record of a refused call. Repeats are harmless and
/// there was no answer. Or a person replays a dead letter.
fn calls(ledger: &Ledger) -> Result<(), String> {
    let mut by_event = BTreeMap::<(&str, &str, usize), Vec<&Call>>::new();
    for call in &ledger.calls {
        let Some(request) = call.request.map(|id| &ledger.requests[id]) else {
            return Err(format!("each call belongs to an event: {} does not", call.key));
        };
        let Some(event) = request.event() else {
            return Err(format!("each call belongs to an event: {} does not", call.key));
        };
        if call.refused_before > 0 && !request.is_replay() {
            return Err(format!(
                "only a replay calls again after a refusal: {} for {event}",
                request.service
            ));
        }
        let was_refused = |before: &Call| {
            let of = before.request.map(|id| &ledger.requests[id]);
            let is_same =
                of.is_some_and(|of| of.delivers(&request.service, event) && of.replay() == request.replay());
            is_same && before.refused_before < call.refused_before
        };
        if ledger.calls.iter().any(was_refused) {
            return Err(format!("a refused replay makes no second call: {} for {event}", request.service));
        }
        by_event.entry((&request.service, event, call.refused_before)).or_default().push(call);
    }
    let mut keys = BTreeMap::<&str, (&str, &str)>::new();
    for (of, calls) in by_event {
        let about = || format!("{} for {}: {}", of.0, of.1, describe(&calls, ledger));
        for call in &calls {
            if *keys.entry(&call.key).or_insert((of.0, of.1)) != (of.0, of.1) {
                return Err(format!("two events never share an idempotency key: {}", about()));
            }
            if call.key != calls[0].key {
                return Err(format!("a repeated call has the same idempotency key: {}", about()));
            }
            if asked(&call.payload) != asked(&calls[0].payload) {
                return Err(format!("a repeated call has the same payload: {}", about()));
            }
            if call.was_recorded {
                return Err(format!("no call is made after its event is handled: {}", about()));
            }
        }
        for (index, call) in calls.iter().enumerate() {
            for before in &calls[..index] {
                if before.request != call.request && before.ended_at.is_none_or(|ended| call.at < ended) {
                    return Err(format!("calls for one event never overlap: {}", about()));
                }
            }
            if index == 0 {
                continue;
            }
            let before = calls[index - 1];
            let is_next_step = before.request == call.request && before.kind != call.kind;
            if is_next_step {
                continue;
            }
            let request = before.request.map(|id| &ledger.requests[id]);
            let was_lost = request.is_some_and(|it| it.was_cut || it.store_failures >= OUTAGE);
            // The store refused to record that the outside refused the call. The delivery ends with a dead letter, or
            // fails if the claim could not be abandoned, either.
            let is_dead_letter =
                || ledger.dead_lettered().any(|(service, event, _)| service == of.0 && event == of.1);
            let is_unrecorded =
                request.is_some_and(|it| it.was_refused && (it.store_failures > 1 || is_dead_letter()));
            // After the answer to one of its calls, a delivery may lack the answer to the next one.
            let is_harmless =
                call.repeats == Repeats::Harmless && request.is_some_and(|it| it.lacks_an_answer);
            let is_replay = call.request.is_some_and(|id| ledger.requests[id].is_replay());
            if !was_lost && !is_harmless && !is_replay && !is_unrecorded {
                let rule = match call.repeats {
                    Repeats::Harmless => "a call is not repeated after its answer",
                    Repeats::Harmful => "a call is repeated only after a crash",
                };
                return Err(format!("{rule}: {}", about()));
            }
        }
    }
    Ok(())
}

fn describe(calls: &[&Call], ledger: &Ledger) -> String {
    let describe = |call: &&Call| {
        let request = call.request.map(|id| &ledger.requests[id]);
        format!(
            "at {} with {}, {}, {}",
            call.at,
            &call.key[..call.key.len().min(8)],
            if call.was_answered { "answered" } else { "not answered" },
            if request.is_some_and(|request| request.was_cut) { "cut" } else { "not cut" },
        )
    };
    calls.iter().map(describe).collect::<Vec<_>>().join("; ")
}

/// What a call asks for. The fakes also record when and how often they were called, and their answer.
fn asked(payload: &Fields) -> Vec<(&String, &Value)> {
    let is_asked =
        |name: &str| !["asked", "outcome"].contains(&name) && !name.ends_with("At") && !name.ends_with("_at");
    payload.iter().filter(|(name, _)| is_asked(name)).collect()
}

/// Listens to all log lines of a thread, and keeps the first one that holds personal data.
#[derive(Clone)]
pub(crate) struct Heard {
    personal: &'static [&'static str],
    found: Arc<Mutex<Option<String>>>,
}

impl Heard {
    pub(crate) fn new(personal: &'static [&'static str]) -> Self {
        Self { personal, found: Arc::default() }
    }

    /// Listens until the guard is dropped.
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }

    fn is_personal(&self, text: &str) -> bool {
        self.personal.iter().any(|personal| text.contains(personal))
    }

    fn found(&self) -> Option<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, name: &str, text: &str) {
        if self.is_personal(text) {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.get_or_insert_with(|| format!("{name}={text}"));
        }
    }
}

impl field::Visit for &Heard {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.hear(field.name(), &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.hear(field.name(), value);
    }
    fn record_u64(&mut self, _: &field::Field, _: u64) {}
    fn record_i64(&mut self, _: &field::Field, _: i64) {}
    fn record_bool(&mut self, _: &field::Field, _: bool) {}
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut &*self);
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut &*self);
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut &*self);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
