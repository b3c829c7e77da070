//! What a person can do from the console, besides sending events and replaying dead letters. Every action is a form,
//! and also a command line.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use axum::{
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    },
    response::Response,
};
use jiff::SignedDuration;
use pushbox::{Problem, wire::attribute::TRACEPARENT};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    badges::span,
    events::recent,
    extras::Try,
    form::{Form, answer, done, invalid},
};
use crate::{
    Broker, Stack,
    broker::{Faults as BrokerFaults, RecentEvent},
    journal::Change,
    process::{Faults, MOST_LATENCY_MILLIS, Process},
    stack::Transport,
};

/// The longest time that the clock moves at once: a receipt is kept for 45 days.
const MOST_SECONDS: u64 = 60 * 24 * 60 * 60;

type Answer = Result<Response, Problem>;

pub(super) async fn stop(stack: State<Stack>, name: Path<String>, headers: HeaderMap) -> Answer {
    process(&stack, &name)?.stop();
    Ok(switched(&stack, &name, &headers))
}

pub(super) async fn start(stack: State<Stack>, name: Path<String>, headers: HeaderMap) -> Answer {
    process(&stack, &name)?.start();
    if let Some(broker) = stack.broker() {
        broker.with(|topics, now| topics.wake(&name, now));
    }
    Ok(switched(&stack, &name, &headers))
}

pub(super) async fn kill(stack: State<Stack>, name: Path<String>, headers: HeaderMap) -> Answer {
    let process = process(&stack, &name)?;
    if !process.can_be_killed() {
        let detail =
            format!("{name} cannot be killed here, because nothing can build it again.", name = *name);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    process.kill();
    Ok(switched(&stack, &name, &headers))
}

fn switched(stack: &Stack, name: &str, headers: &HeaderMap) -> Response {
    let running = stack.is_up(name);
    tracing::info!(service = name, "{}", if running { "started" } else { "stopped" });
    answer(headers, json!({ "name": name, "running": running }))
}

fn process<'a>(stack: &'a Stack, name: &str) -> Result<&'a Process, Problem> {
    stack.services.get(name).ok_or_else(|| Problem::not_found(format_args!("service: {name}")))
}

pub(super) async fn set_faults(
    State(stack): State<Stack>,
    Path(name): Path<String>,
    headers: HeaderMap,
    form: Form,
) -> Answer {
    let process = process(&stack, &name)?;
    form.only(&["latencyMillis", "errorPercent", "refuseCommits", "killAt"])?;
    let percent = form.number("errorPercent", 100)?;
    let faults = Faults {
        latency_millis: form.number("latencyMillis", MOST_LATENCY_MILLIS)?,
        error_percent: u8::try_from(percent).unwrap_or(100),
        refuse_commits: form.is_on("refuseCommits")?,
    };
    let kill_at = form.text("killAt");
    let reached = stack.fault_points(&name);
    if kill_at.is_some_and(|wanted| reached.iter().all(|point| *point != wanted)) {
        let points = if reached.is_empty() { "none".to_owned() } else { reached.join(", ") };
        return Err(invalid(format_args!(
            "killAt is a fault point that {name} reaches. It reaches: {points}."
        )));
    }
    process.set_faults(faults, kill_at);
    Ok(done(&headers, &format!("The faults of {name} are set.")))
}

pub(super) async fn set_broker_faults(State(stack): State<Stack>, headers: HeaderMap, form: Form) -> Answer {
    form.only(&["duplicate", "reorder", "dropAcks"])?;
    let faults = BrokerFaults {
        duplicate: form.is_on("duplicate")?,
        reorder: form.is_on("reorder")?,
        drop_acks: form.is_on("dropAcks")?,
    };
    broker(&stack)?.with(|topics, _| topics.faults = faults);
    stack.journal.note(Change::Other);
    Ok(done(&headers, "The faults of the broker are set."))
}

pub(super) async fn set_switch(
    State(stack): State<Stack>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Form,
) -> Answer {
    let found = stack.extras.switches.iter().find(|switch| switch.id == id);
    let switch = found.ok_or_else(|| Problem::not_found(format_args!("switch: {id}")))?;
    form.only(&["on"])?;
    let is_on = form.is_on("on")?;
    switch.is_on.store(is_on, Ordering::Relaxed);
    stack.journal.note(Change::Other);
    let verb = if is_on { "on" } else { "off" };
    Ok(done(&headers, &format!("{}: “{}” is {verb}.", switch.of, switch.label)))
}

pub(super) async fn end_faults(State(stack): State<Stack>, headers: HeaderMap) -> Answer {
    for process in stack.services.values() {
        process.set_faults(Faults::default(), None);
    }
    if let Some(broker) = stack.broker() {
        broker.with(|topics, _| topics.faults = BrokerFaults::default());
    }
    for switch in &*stack.extras.switches {
        switch.is_on.store(false, Ordering::Relaxed);
    }
    stack.journal.note(Change::Other);
    Ok(done(&headers, "All faults have ended."))
}

/// Makes a request of the list, as a person would.
pub(super) async fn carry_out(
    State(stack): State<Stack>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let found = stack.extras.tries.iter().find(|each| each.id == id);
    let each = found.ok_or_else(|| Problem::not_found(format_args!("action: {id}")))?;
    let number = stack.extras.tried.fetch_add(1, Ordering::Relaxed) + 1;
    // The events of the story have the same trace.
    let trace = format!("{:032x}", stack.now().as_nanosecond());
    let traceparent = format!("00-{trace}-{number:016x}-00");
    let post = async |path: &str, body: String, token: Option<&str>| {
        let mut request = Request::builder().method(Method::POST).uri(path).header(HOST, "localhost");
        request = request.header(CONTENT_TYPE, "application/json").header(TRACEPARENT, &traceparent);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body));
        let request = request.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        let response = stack.app().oneshot(request).await.unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
        Ok::<_, Problem>((parts, body))
    };
    let answered = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or_default();
    let mut token = None;
    if let Some((path, account)) = each.account {
        let (parts, body) = post(path, Try::filled(account, number), None).await?;
        if !parts.status.is_success() {
            return Ok(Response::from_parts(parts, body.into()));
        }
        token = answered(&body)["accessToken"].as_str().map(str::to_owned);
    }
    let (parts, body) = post(each.path, Try::filled(each.body, number), token.as_deref()).await?;
    if !parts.status.is_success() {
        return Ok(Response::from_parts(parts, body.into()));
    }
    let published = answered(&body)["messageIds"][0].as_str().map(str::to_owned);
    let is_first = |event: &RecentEvent| {
        event.message.attributes.get(TRACEPARENT).is_some_and(|parent| parent.contains(&trace))
    };
    // The oldest event of the story is the last one of the list.
    let first = || recent(&stack).into_iter().rfind(is_first).map(|event| event.message.id());
    let link = match published.or_else(first) {
        Some(id) => format!("/_local/events/{id}"),
        None => format!("/_local/events?text={trace}"),
    };
    let message = format!("{}: {}.", each.label, parts.status);
    Ok(answer(&headers, json!({ "message": message, "link": link })))
}

pub(super) async fn clear_events(State(stack): State<Stack>, headers: HeaderMap) -> Answer {
    match &stack.transport {
        Transport::Broker(broker) => broker.act(|topics, _| topics.forget_recent()),
        Transport::Emulator(_, pushes) => pushes.act(|recent| recent.clear()),
    }
    Ok(done(&headers, "The list is empty. Deliveries go on."))
}

/// Delivers an event again: twice with `copies=2`, to one subscription with `subscription=…`.
pub(super) async fn deliver(
    State(stack): State<Stack>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Form,
) -> Answer {
    form.only(&["copies", "subscription"])?;
    let copies = if form.number("copies", 2)? == 2 { 2 } else { 1 };
    let only = form.text("subscription");
    let broker = broker(&stack)?;
    let found = recent(&stack).into_iter().find(|event| event.message.id() == id);
    let event = found.ok_or_else(|| Problem::not_found(format_args!("event in memory: {id}")))?;
    if event.deliveries.is_empty() {
        return Err(Problem::new(StatusCode::CONFLICT, "No subscription receives this event."));
    }
    if let Some(unknown) = only.filter(|only| !event.deliveries.contains_key(*only)) {
        return Err(Problem::not_found(format_args!("subscription of this event: {unknown}")));
    }
    let number = event.message.number;
    match broker.with(|topics, now| topics.deliver_again(number, only, copies, now)) {
        0 => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The subscription is full.")),
        1 => Ok(done(&headers, "One delivery begins.")),
        many => Ok(done(&headers, &format!("{many} deliveries begin."))),
    }
}

pub(super) async fn advance_clock(State(stack): State<Stack>, headers: HeaderMap, form: Form) -> Answer {
    form.only(&["seconds"])?;
    let seconds = form.number("seconds", MOST_SECONDS)?;
    let by = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    move_clock(&stack, by)?;
    Ok(done(&headers, &format!("The clock has moved by {}.", span(by))))
}

/// Moves the clock to the next timer, or to the next retry of a message.
pub(super) async fn next_timer(State(stack): State<Stack>, headers: HeaderMap) -> Answer {
    let broker = broker(&stack)?;
    let (retry, now) = broker.act(|topics, now| (topics.next_wakeup(), now));
    let timer = stack.tasks.as_ref().and_then(|tasks| tasks.with(|queues, _| queues.next_wakeup()));
    let next: BTreeSet<_> = [retry, timer].into_iter().flatten().collect();
    let Some(next) = next.first() else {
        return Err(Problem::new(StatusCode::CONFLICT, "No timer is set, and no message waits for a retry."));
    };
    let by = next.duration_since(now).max(SignedDuration::ZERO);
    move_clock(&stack, by)?;
    Ok(done(&headers, &format!("The clock has moved by {}.", span(by))))
}

/// Sets the clock to the machine's time. Messages that wait for a later time become due.
pub(super) async fn real_clock(State(stack): State<Stack>, headers: HeaderMap) -> Answer {
    let ahead = stack.extras.clock.as_ref().map(pushbox::Offset::get).unwrap_or_default();
    move_clock(&stack, -ahead)?;
    broker(&stack)?.with(|topics, now| {
        stack.services.keys().for_each(|service| topics.wake(service, now));
    });
    Ok(done(&headers, "The clock shows the real time."))
}

fn move_clock(stack: &Stack, by: SignedDuration) -> Result<(), Problem> {
    let none = || Problem::new(StatusCode::CONFLICT, "The clock moves only on the stack in memory.");
    let offset = stack.extras.clock.as_ref().ok_or_else(none)?;
    offset.set(offset.get().saturating_add(by));
    // Both look for what is due now.
    broker(stack)?.with(|_, _| ());
    if let Some(tasks) = &stack.tasks {
        tasks.with(|_, _| ());
    }
    // Cloud Scheduler would have called it meanwhile.
    let relaying = stack.clone();
    tokio::spawn(async move { relaying.relay().await });
    stack.journal.note(Change::Other);
    Ok(())
}

/// Google's emulator offers none of this.
pub(super) fn broker(stack: &Stack) -> Result<&Broker, Problem> {
    let detail = "Google's emulator cannot do this. Start the stack without PUBSUB_EMULATOR_HOST.";
    stack.broker().ok_or_else(|| Problem::new(StatusCode::CONFLICT, detail))
}
