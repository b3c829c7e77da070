//! Plays every world of a bounded size: one event or command, two overlapping deliveries of it, and
//! at most two faults, each kind at each step.
//!
//! The stories are first played without faults. Each command, and each message that a service gets,
//! is a case. It includes the documents that the service and the outside have at that time. The
//! second delivery starts at each step of the first one, or after it. From then on the two take
//! their steps in turn, until a fault delays one of them.
//!
//! A delivery that waits makes a long row of reads. In such a row, faults happen at the first three
//! reads and at the last.
//!
//! Two kinds of fault are left out, because another fault has the same effect. A process that dies
//! before a step, and a caller that hangs up after a read, both leave the world as it was after the
//! previous write.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::Method;
use catalog::{Catalog, Subscription};
use jiff::Timestamp;
use local::broker::Topics;
use pushbox::wire::attribute;
use pushbox::{Message, Path, Timing, store::Fields};
use serde_json::Value;

use crate::{
    Answer, Counts, Fault, Scenario, Step, World,
    checks::{Heard, event_type, is_kept_for_a_replay},
    choice::{Choice, Taken, applicable},
    delay::Delay,
    ledger::{after, service_of_receipt},
    random::in_paused_time,
    world::{Systems, replay_of},
};

/// The most faults in a world, unless `SIMULATION_FAULTS` sets another number.
const FAULTS: usize = 2;

/// After 94 failures, the next one makes a message a dead letter. After 99, the next delivery is the last.
const EARLIER_FAILURES: [u32; 2] =
    [Timing::DEFAULT.gives_up_at() - 1, Timing::DEFAULT.max_delivery_attempts - 1];

/// The time at which the worlds of [`explore`](explore()) begin. No year ends in them.
pub const EXPLORED_FROM: Timestamp = Timestamp::constant(1_000_000_000, 0);

/// One input of a story.
#[derive(Clone, Debug)]
pub enum Input {
    /// A command, which is sent with an idempotency key.
    Command {
        /// The service that gets it.
        service: &'static str,
        /// Such as `POST`.
        method: Method,
        /// The path.
        path: &'static str,
        /// The access token of the user who sends it.
        token: Option<String>,
        /// The body. Here and in the path, the segment or text `$0.ticketId` stands for the field `ticketId` of
        /// the answer to the story's first input.
        body: Value,
    },
    /// Nothing happens until all timers have fired. They also fire at the end of a story.
    Timers,
    /// A message that a person publishes by hand.
    Message {
        /// The topic.
        topic: &'static str,
        /// The data.
        data: Value,
    },
}

/// One message or command, and the documents that exist at that time.
#[derive(Clone)]
struct Case {
    name: String,
    service: String,
    /// The documents of the service.
    documents: Vec<(Path, Fields)>,
    /// The documents of the outside world, such as charges.
    outside: Vec<(Path, Fields)>,
    trigger: Trigger,
    at: Timestamp,
    /// How many calls to the outside the story makes for it.
    calls: usize,
    /// How often the message has failed before.
    earlier_failures: u32,
    /// Contains only this service.
    catalog: Arc<Catalog>,
}

#[derive(Clone)]
enum Trigger {
    Message(Message),
    Command { method: Method, path: String, token: Option<String>, body: Value },
}

/// The final state of a settled world, without times and random ids.
#[derive(Debug, Default, PartialEq)]
struct End {
    documents: Vec<(String, Value)>,
    /// The ids of each event, by its type and data.
    events: BTreeMap<(String, String), BTreeSet<String>>,
    receipts: usize,
    /// A claim and its staged writes are kept for a replay.
    keeps_claim: bool,
    answers: Vec<Value>,
    delay: Delay,
}

/// The result of playing a world.
struct Played {
    steps: Vec<Taken>,
    counts: Counts,
    history: Vec<String>,
    end: Result<End, String>,
}

/// For each broken rule: the number of worlds, and the first of them.
type Broken = BTreeMap<String, (u64, String)>;

/// Plays all worlds of these stories, on all cores. Plays the cases with the names in `of_last_deliveries` again, with a
/// message that has failed 94 times before, and 99 times. Prints the name and the number of worlds of each case, and
/// returns the counts of all worlds.
///
/// # Panics
/// If a rule is broken in a world. The message names each broken rule with an example.
pub fn explore<S: Scenario>(of_last_deliveries: &[&str], stories: &[Vec<Input>]) -> Counts {
    let began = Instant::now();
    let explorer = Explorer::<S>::new();
    let cases = explorer.cases(of_last_deliveries, stories);
    explorer.check_that_all_events_are_explored(&cases);
    // The second delivery starts at each step of the first one, or after the last step.
    let work: Vec<(usize, usize)> = cases
        .iter()
        .enumerate()
        .flat_map(|(number, (_, baseline))| (0..=baseline.steps.len()).map(move |overlap| (number, overlap)))
        .collect();
    let faults = std::env::var("SIMULATION_FAULTS").map_or(FAULTS, |text| text.parse().expect("a number"));
    let next = AtomicUsize::new(0);
    let total = Mutex::new((Counts::default(), Broken::new(), vec![0; cases.len()]));
    let worker = || {
        while let Some(&(number, overlap)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (case, baseline) = &cases[number];
            let mut search = Search {
                explorer: &explorer,
                case,
                baseline,
                overlap,
                faults,
                counts: Counts::default(),
                broken: Broken::new(),
            };
            search.extend(&mut Vec::new());
            let (counts, broken, worlds) = &mut *total.lock().unwrap_or_else(PoisonError::into_inner);
            worlds[number] += search.counts.worlds;
            counts.add(&search.counts);
            for (rule, (count, example)) in search.broken {
                broken.entry(rule).or_insert_with(|| (0, example)).0 += count;
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(worker))));
    let (counts, broken, worlds) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let steps: usize = cases.iter().map(|(_, baseline)| baseline.steps.len()).sum();
    println!("{} cases with {steps} steps", cases.len());
    for ((case, baseline), worlds) in cases.iter().zip(worlds) {
        println!("{worlds:>8} worlds, {} steps without faults: {}", baseline.steps.len(), case.name);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{:>8} worlds in {seconds:.0} s: {counts:?}", counts.worlds);
    let broken: Vec<String> =
        broken.iter().map(|(rule, (worlds, how))| format!("{worlds} worlds: {rule}:{how}")).collect();
    assert!(broken.is_empty(), "{} rules were broken:\n{}", broken.len(), broken.join("\n"));
    counts
}

/// The worlds of one case in which the second delivery starts at one step of the first.
struct Search<'a, S> {
    explorer: &'a Explorer<S>,
    case: &'a Case,
    baseline: &'a Played,
    overlap: usize,
    faults: usize,
    counts: Counts,
    broken: Broken,
}

impl<S: Scenario> Search<'_, S> {
    /// Plays a script, and then every script with one more fault at a later step.
    fn extend(&mut self, script: &mut Vec<(usize, Fault)>) {
        let played = self.explorer.play(self.case, Some(self.overlap), script, false);
        self.counts.add(&played.counts);
        if let Err(error) = played.end.and_then(|end| compare(self.baseline, &end, script, &played.steps)) {
            let (rule, how) = error.split_once(':').unwrap_or((&error, ""));
            let entry = self.broken.entry(rule.to_owned()).or_insert_with(|| {
                let again = self.explorer.play(self.case, Some(self.overlap), script, true);
                let steps = again.history.join("\n      ");
                let case = &self.case.name;
                (0, format!("{how}\n    {case}, overlap at {}, {script:?}\n      {steps}", self.overlap))
            });
            entry.0 += 1;
        }
        if script.len() == self.faults {
            return;
        }
        let first = script.last().map_or(0, |(number, _)| number + 1);
        for (number, taken) in played.steps.iter().enumerate().skip(first) {
            if is_in_a_long_wait(&played.steps, number) {
                continue;
            }
            for fault in applicable(taken.step, taken.in_request) {
                if fault == Fault::CrashBefore
                    || (fault == Fault::HangUp && matches!(taken.step, Step::Get | Step::List))
                {
                    continue;
                }
                script.push((number, fault));
                self.extend(script);
                script.pop();
            }
        }
    }
}

/// A delivery that waits for another one reads the same receipt repeatedly. Of these reads, only
/// the first three and the last get faults.
fn is_in_a_long_wait(steps: &[Taken], number: usize) -> bool {
    let is_read = |at: usize| steps.get(at).is_some_and(|taken| taken.step == Step::Get);
    number >= 3 && (number - 3..=number + 1).all(is_read)
}

/// Returns an error if the world ends differently from the world without faults.
fn compare(baseline: &Played, end: &End, script: &[(usize, Fault)], steps: &[Taken]) -> Result<(), String> {
    let Ok(expected) = &baseline.end else { return Ok(()) };
    end.delay.compare(&expected.delay, script, steps)?;
    // A call without an answer may end with an unknown outcome. Without faults, the outcome is
    // known.
    let is_unknown = |(number, fault): &(usize, Fault)| {
        steps[*number].step == Step::Call && matches!(fault, Fault::LostAnswer | Fault::NoAnswer)
    };
    let hides_status = script.iter().any(is_unknown);
    if end.keeps_claim && !expected.keeps_claim {
        return Ok(());
    }
    for (found, expected) in end.documents.iter().zip(&expected.documents) {
        if found != expected && !(hides_status && without_status(found) == without_status(expected)) {
            return Err(format!(
                "documents are the same as without faults: {found:?}, expected {expected:?}"
            ));
        }
    }
    if end.documents.len() != expected.documents.len() {
        let (found, expected) = (&end.documents, &expected.documents);
        return Err(format!("documents are the same as without faults: {found:?}, expected {expected:?}"));
    }
    if let Some(((name, _), ids)) = end.events.iter().find(|(_, ids)| ids.len() != 1) {
        return Err(format!("each event has one id: {name} has {ids:?}"));
    }
    if !end.events.keys().eq(expected.events.keys()) {
        let (found, expected) = (end.events.keys(), expected.events.keys());
        return Err(format!("events are the same as without faults: {found:?}, expected {expected:?}"));
    }
    if end.receipts != expected.receipts {
        return Err(format!("there is one receipt: found {}, expected {}", end.receipts, expected.receipts));
    }
    if end.answers.iter().any(|answer| *answer != end.answers[0]) {
        return Err(format!("a repeated command gets the same answer: {:?}", end.answers));
    }
    Ok(())
}

fn without_status((path, fields): &(String, Value)) -> (String, Value) {
    let mut fields = fields.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("status");
    }
    (path.clone(), fields)
}

struct Explorer<S> {
    catalog: Catalog,
    systems: Systems,
    personal: &'static [&'static str],
    scenario: std::marker::PhantomData<fn(S)>,
}

impl<S: Scenario> Explorer<S> {
    fn new() -> Self {
        let systems = Systems::of::<S>();
        let catalog = in_paused_time(async { World::catalog_of(systems) });
        Self { catalog, systems, personal: S::PERSONAL, scenario: std::marker::PhantomData }
    }

    /// The cases of all stories, each with its world without faults. Cases with the same name, the
    /// same steps, the same types of published events and the same collections count as one.
    fn cases(&self, of_last_deliveries: &[&str], stories: &[Vec<Input>]) -> Vec<(Case, Played)> {
        let mut seen = BTreeSet::new();
        let mut cases = Vec::new();
        let with_failures = |case: Case| {
            let is_of_last = of_last_deliveries.contains(&case.name.as_str());
            let failures: &[u32] = if is_of_last { &EARLIER_FAILURES } else { &[] };
            let again: Vec<Case> = failures.iter().map(|failures| case.after_failures(*failures)).collect();
            std::iter::once(case).chain(again)
        };
        for case in stories.iter().flat_map(|story| self.cases_of(story)).flat_map(with_failures) {
            let baseline = self.play(&case, None, &[], true);
            let end = baseline.end.as_ref().unwrap_or_else(|error| panic!("{}: {error}", case.name));
            let steps: Vec<Step> = baseline.steps.iter().map(|taken| taken.step).collect();
            let calls = steps.iter().filter(|step| **step == Step::Call).count();
            assert!(calls >= case.calls, "{}: its small world lacks a call of the story", case.name);
            let published: Vec<String> =
                end.events.keys().map(|(event_type, _)| event_type.clone()).collect();
            let collection = |(path, _): &(String, Value)| path.rsplit_once('/').map(|(of, _)| of.to_owned());
            let collections: BTreeSet<Option<String>> = end.documents.iter().map(collection).collect();
            if seen.insert((case.name.clone(), steps, published, collections)) {
                cases.push((case, baseline));
            }
        }
        cases
    }

    /// Each event that a service handles must be part of a story.
    fn check_that_all_events_are_explored(&self, cases: &[(Case, Played)]) {
        for service in &self.catalog.services {
            for handled in service.subscriptions.iter().flat_map(|subscription| &subscription.handles) {
                let name = format!("{} {handled}", service.name);
                let is_explored = cases.iter().any(|(case, _)| case.name == name);
                assert!(is_explored, "no story has the case `{name}`");
            }
        }
    }

    /// Plays a story without faults, one message at a time.
    fn cases_of(&self, story: &[Input]) -> Vec<Case> {
        fastrand::seed(0);
        in_paused_time(async {
            let choice = Choice::script(&[], None, false);
            let world = World::new(
                choice,
                EXPLORED_FROM,
                Arc::new(self.catalog.clone()),
                self.systems,
                Heard::new(&[]),
                0,
            );
            let (mut cases, mut answers) = (Vec::new(), Vec::new());
            for (number, input) in story.iter().enumerate() {
                let mut answer = Value::Null;
                match input.clone() {
                    Input::Command { service, method, path, token, mut body } => {
                        let name = format!("{service} {method} {path}");
                        let segments: Vec<String> =
                            path.split('/').map(|segment| filled(segment, &answers)).collect();
                        let path = segments.join("/");
                        fill(&mut body, &answers);
                        let key = number.to_string();
                        let headers = headers(&key, token.as_deref());
                        let trigger = Trigger::Command {
                            method: method.clone(),
                            path: path.clone(),
                            token: token.clone(),
                            body: body.clone(),
                        };
                        cases.push(self.case(&world, service, name, trigger).await);
                        let headers: Vec<_> =
                            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                        let sent = world.request_with(service, method, &path, &headers, &body).await;
                        answer = sent.map(|sent| sent.body).unwrap_or_default();
                    }
                    Input::Message { topic, data } => world.publish_by_hand(topic, &data),
                    Input::Timers => {}
                }
                answers.push(answer);
                let fires = matches!(input, Input::Timers) || number + 1 == story.len();
                self.deliver_all(&world, &mut cases, fires).await;
            }
            world.check().unwrap_or_else(|error| panic!("the story without faults: {error}"));
            cases
        })
    }

    /// Delivers all messages, one at a time. Each is a case.
    async fn deliver_all(&self, world: &World, cases: &mut Vec<Case>, fires: bool) {
        loop {
            let due = world.shared().topics(Topics::due);
            if due.is_empty() && !(fires && world.fire_next().await) {
                break;
            }
            for delivery in due {
                let message = Message {
                    topic: delivery.message.topic.clone(),
                    attributes: delivery.message.attributes.clone(),
                    data: delivery.message.data.clone(),
                };
                let name = format!("{} {}", delivery.service, event_type(&message).unwrap_or_default());
                let service = delivery.service.to_string();
                let mut case = self.case(world, &service, name, Trigger::Message(message)).await;
                let calls = || world.shared().ledger().calls.len();
                let before = calls();
                world.clone().deliver(delivery, true).await;
                case.calls = calls() - before;
                cases.push(case);
            }
        }
    }

    async fn case(&self, world: &World, service: &str, name: String, trigger: Trigger) -> Case {
        let mut catalog = self.catalog.clone();
        catalog.services.retain(|entry| entry.name == service);
        // The events that the service publishes in this case are other cases, even if it handles them itself.
        for entry in &mut catalog.services {
            match &trigger {
                Trigger::Command { .. } => entry.subscriptions.clear(),
                Trigger::Message(message) => {
                    entry.subscriptions.iter_mut().for_each(|subscription| narrow(subscription, message));
                }
            }
        }
        Case {
            name,
            service: service.to_owned(),
            documents: world.all_documents(service).await,
            outside: world.all_outside().await,
            trigger,
            at: after(world.shared().now(), Duration::from_secs(1)),
            calls: 0,
            earlier_failures: 0,
            catalog: Arc::new(catalog),
        }
    }

    /// Plays a case with a script. `overlap` is the step of the first delivery at which the second
    /// one starts.
    fn play(
        &self,
        case: &Case,
        overlap: Option<usize>,
        script: &[(usize, Fault)],
        with_history: bool,
    ) -> Played {
        fastrand::seed(1);
        let heard = Heard::new(self.personal);
        let _listening = heard.listen();
        let choice = Choice::script(script, overlap, with_history);
        let (mut steps, mut counts, mut history) = (Vec::new(), Counts::default(), Vec::new());
        let played = catch_unwind(AssertUnwindSafe(|| {
            in_paused_time(async {
                let (catalog, failures) = (case.catalog.clone(), case.earlier_failures);
                let world = World::new(choice, case.at, catalog, self.systems, heard, failures);
                world.load(&case.documents, &case.outside).await;
                let end = case.play(&world, overlap.is_some()).await;
                (steps, counts, history) = (world.shared().choice.steps(), world.counts(), world.history());
                end
            })
        }));
        let end = played.unwrap_or_else(|_| Err("nothing panics: see above".to_owned()));
        Played { steps, counts, history, end }
    }
}

impl Case {
    /// The case with a message that has failed so often before.
    fn after_failures(&self, failures: u32) -> Self {
        let name = format!("{} after {failures} failures", self.name);
        Self { earlier_failures: failures, name, ..self.clone() }
    }

    async fn play(&self, world: &World, twice: bool) -> Result<End, String> {
        let answers = match &self.trigger {
            Trigger::Message(message) => {
                self.deliver(world, message, twice).await?;
                Vec::new()
            }
            Trigger::Command { method, path, token, body } => {
                let headers = headers("key", token.as_deref());
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                self.command(world, (method, path), &headers, body, twice).await?
            }
        };
        world.shared().choice.end_chaos();
        // Late commits are applied within this time.
        tokio::time::sleep(Duration::from_secs(20)).await;
        for _ in 0..3 {
            if world.relay_everywhere().await == 0 {
                break;
            }
        }
        world.check()?;
        Ok(self.end(world, answers).await)
    }

    /// Delivers the message until it is acked. With `twice`, a second delivery overlaps. If the
    /// message is a dead letter, it is replayed.
    async fn deliver(&self, world: &World, message: &Message, twice: bool) -> Result<(), String> {
        world.shared().accept(message.clone())?;
        // The first delivery is made here, so that the second one can repeat it.
        let first = world.shared().topics(Topics::due);
        for delivery in &first {
            world.deliver_at_once(delivery.clone());
        }
        tokio::spawn(world.clone().deliver_all());
        if twice {
            tokio::select! {
                () = world.shared().choice.reached.notified() => {}
                () = quiet(world) => {}
            }
            for delivery in first {
                world.deliver_once_more(delivery, Duration::ZERO);
            }
        }
        quiet(world).await;
        world.shared().choice.end_chaos();
        let letters = || {
            world.shared().topics(|topics, _| {
                topics.dead_letters().map(|(service, letter)| replay_of(letter, service)).collect::<Vec<_>>()
            })
        };
        // A person replays it with its attributes, whatever the reason was. The only delivery of a replay fails if it
        // finds the claim of a process that died, or if the outside refuses its first call. So there may be more replays.
        for replays in 0..3 {
            let Some(attributes) = letters().into_iter().nth(replays) else { break };
            world.shared().accept(Message { attributes, ..message.clone() })?;
            let replay = world.shared().topics(Topics::due);
            for delivery in &replay {
                world.deliver_at_once(delivery.clone());
            }
            quiet(world).await;
            // A redelivery of a replay is a duplicate.
            for delivery in replay {
                world.deliver_once_more(delivery, Duration::ZERO);
            }
            quiet(world).await;
        }
        Ok(())
    }

    async fn command(
        &self,
        world: &World,
        (method, path): (&Method, &str),
        headers: &[(&str, &str)],
        body: &Value,
        twice: bool,
    ) -> Result<Vec<Value>, String> {
        let insist = async || {
            for _ in 0..30 {
                let answer = world.request_with(&self.service, method.clone(), path, headers, body).await;
                if let Some(Answer { status, body, .. }) = answer
                    && status.is_success()
                {
                    return Ok(body);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err("a command succeeds in the end: it did not".to_owned())
        };
        if !twice {
            return Ok(vec![insist().await?]);
        }
        let first = insist();
        let mut first = std::pin::pin!(first);
        // The first command may end before the second one starts.
        let early = tokio::select! {
            biased;
            () = world.shared().choice.reached.notified() => None,
            answer = &mut first => Some(answer?),
        };
        match early {
            Some(answer) => Ok(vec![answer, insist().await?]),
            None => {
                let (first, second) = futures::join!(first, insist());
                Ok(vec![first?, second?])
            }
        }
    }

    /// The present state of the world.
    async fn end(&self, world: &World, answers: Vec<Value>) -> End {
        let known = Known::of(self);
        let (mut documents, mut receipts) = (Vec::new(), 0);
        for (path, fields) in world.all_documents(&self.service).await {
            if service_of_receipt(&path).is_some() {
                receipts += 1;
            } else {
                let mut value = Value::Object(fields);
                known.mask(&mut value);
                documents.push((known.mask_text(&path.to_string()), value));
            }
        }
        documents.sort_by(|a, b| (&a.0, a.1.to_string()).cmp(&(&b.0, b.1.to_string())));
        let mut events = BTreeMap::<_, BTreeSet<String>>::new();
        let ledger = world.shared().ledger();
        // A timer counts as an event, whether it fires in this world or not.
        let messages = ledger.published.iter().map(|published| &published.message).chain(&ledger.timers);
        for message in messages {
            let attributes = &message.attributes;
            let (Some(id), false) =
                (attributes.get("ce-id"), attributes.contains_key(attribute::DEAD_LETTER_REASON))
            else {
                continue;
            };
            let mut data = serde_json::from_slice(&message.data).unwrap_or_default();
            known.mask(&mut data);
            let name = (event_type(message).unwrap_or_default(), data.to_string());
            events.entry(name).or_default().insert(id.clone());
        }
        let delay = Delay::of(&ledger);
        let keeps_claim = ledger.receipts.values().any(|receipt| is_kept_for_a_replay(&ledger, receipt));
        drop(ledger);
        End { documents, events, receipts, keeps_claim, answers, delay }
    }
}

/// Makes the subscription pass only messages of this message's type.
fn narrow(subscription: &mut Subscription, message: &Message) {
    let name = attribute::TYPE;
    subscription.filter = match message.attributes.get(name) {
        Some(event_type) => format!("attributes.\"{name}\" = \"{event_type}\""),
        None => format!("NOT attributes:\"{name}\""),
    };
    let event_type = event_type(message);
    subscription.handles.retain(|handled| Some(handled) == event_type.as_ref());
}

fn headers(key: &str, token: Option<&str>) -> Vec<(&'static str, String)> {
    let bearer = token.map(|token| ("authorization", format!("Bearer {token}")));
    std::iter::once(("idempotency-key", key.to_owned())).chain(bearer).collect()
}

/// Puts the fields of earlier answers into a body.
fn fill(body: &mut Value, answers: &[Value]) {
    match body {
        Value::String(text) => *text = filled(text, answers),
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, answers)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill(value, answers)),
        _ => {}
    }
}

fn filled(text: &str, answers: &[Value]) -> String {
    let Some((number, field)) = text.strip_prefix('$').and_then(|rest| rest.split_once('.')) else {
        return text.to_owned();
    };
    let answer = number.parse().ok().and_then(|number: usize| answers.get(number));
    let value = answer.and_then(|answer| answer[field].as_str());
    value.unwrap_or_else(|| panic!("{text} is not in the answers {answers:?}")).to_owned()
}

async fn quiet(world: &World) {
    while !world.is_quiet() {
        world.idle().await;
    }
}

/// Masks times, and random ids that the case did not start with.
struct Known {
    text: String,
}

impl Known {
    fn of(case: &Case) -> Self {
        let mut text = format!("{:?}", case.documents);
        if let Trigger::Message(message) = &case.trigger {
            text += &String::from_utf8_lossy(&message.data);
        }
        Self { text }
    }

    fn mask(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.mask_text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.mask(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.mask(value)),
            _ => {}
        }
    }

    fn mask_text(&self, text: &str) -> String {
        if text.parse::<Timestamp>().is_ok() {
            return "<time>".to_owned();
        }
        let is_id = |word: &str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut masked = String::with_capacity(text.len());
        for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if is_id(bare) && !self.text.contains(bare) {
                masked += "<id>";
                masked += &word[bare.len()..];
            } else {
                masked += word;
            }
        }
        masked
    }
}
