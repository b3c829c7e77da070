//! The handler's view of its transaction: it reads documents and stages writes and events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Document, Event, Failure, Path, ServiceName, json,
    key::{Key, digest},
    message::{Outbox, Outgoing},
    origin::Origin,
    store::{self, Change, Fields, Precondition, Store, StoreError, Stored, Write},
    timers::timer_id,
    trace::Trace,
};

/// A handler's transaction, and its only access to the world.
///
/// The runtime commits everything that the handler stages in one commit, together with the receipt. The
/// commit succeeds only if no document that the handler read has changed. Otherwise the handler runs again
/// from its start, so it must not touch the world in any other way.
#[derive(Clone)]
pub struct Context {
    run: Arc<Run>,
}

/// The result of [`Context::create`].
#[must_use = "a document that exists is not created; decide what that means"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The document is staged, because as far as is known it does not exist.
    New,
    /// The document exists. Nothing is staged.
    Exists,
}

impl Created {
    /// Whether the document is staged.
    #[must_use]
    pub fn is_new(self) -> bool {
        self == Self::New
    }

    /// Whether the document exists.
    #[must_use]
    pub fn exists(self) -> bool {
        self == Self::Exists
    }

    /// Requires that a document with a [new id](Context::new_id) is new. Another attempt gets another id.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the document exists.
    pub fn require_new(self) -> Result<(), Failure> {
        match self {
            Self::New => Ok(()),
            Self::Exists => Err(Failure::Retry("the new id exists already".to_owned())),
        }
    }
}

/// The types of the events that a service declares.
pub(crate) struct Publishes {
    pub(crate) now: BTreeSet<&'static str>,
    /// Those that it may also publish at a later time.
    pub(crate) later: BTreeSet<&'static str>,
}

/// The input that is handled. It is the same on each re-run.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) service: ServiceName,
    pub(crate) publishes: Arc<Publishes>,
    pub(crate) key: Key,
    /// The message; none for a command.
    pub(crate) message_id: Option<String>,
    /// The message is the replay of a dead letter.
    pub(crate) is_replay: bool,
    pub(crate) occurred_at: Timestamp,
    pub(crate) origin: Origin,
    pub(crate) trace: Trace,
}

struct Run {
    subject: Arc<Subject>,
    /// All new ids derive from this. It is random, and the same on each re-run.
    nonce: String,
    store: Arc<dyn Store>,
    now: Timestamp,
    /// No event may be delayed beyond this time.
    horizon: Timestamp,
    staged: Mutex<Staged>,
}

/// The reads and staged writes of one run.
#[derive(Default)]
pub(crate) struct Staged {
    /// In boxes, because each node of the map has room for eleven values.
    documents: BTreeMap<Path, Box<Staging>>,
    /// Documents that were read before this run, until it uses them.
    known: Known,
    pub(crate) outbox: Outbox,
    ids: u32,
    event_ids: usize,
    /// A programming error, which prevents the commit.
    pub(crate) mistake: Option<String>,
}

#[derive(Default)]
struct Staging {
    /// The document as the store returned it, if it was read. `create` does not read.
    read: Option<Option<Stored>>,
    created: bool,
    change: Option<Change>,
}

impl Context {
    pub(crate) fn new(
        subject: Arc<Subject>,
        nonce: String,
        store: Arc<dyn Store>,
        now: Timestamp,
        horizon: Timestamp,
        known: Known,
    ) -> Self {
        let staged = Mutex::new(Staged { known, ..Staged::default() });
        Self { run: Arc::new(Run { subject, nonce, store, now, horizon, staged }) }
    }

    /// The time at which this run began.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.run.now
    }

    /// The time at which the event happened, even if it arrived late.
    #[must_use]
    pub fn occurred_at(&self) -> Timestamp {
        self.run.subject.occurred_at
    }

    /// A new id: 32 hexadecimal digits. Nobody can guess it, and it is the same on each re-run.
    #[must_use]
    pub fn new_id(&self) -> String {
        let mut staged = self.staged();
        staged.ids += 1;
        self.derive("id", staged.ids as usize)
    }

    fn event_id(&self, staged: &mut Staged) -> String {
        let number = staged.event_ids;
        staged.event_ids += 1;
        self.derive("event", number)
    }

    /// Derives an id from this handling's nonce.
    fn derive(&self, kind: &str, number: usize) -> String {
        let mut id = digest(&[kind, &self.run.nonce, &number.to_string()]);
        id.truncate(32);
        id
    }

    /// The shard of this event or command. Shards are evenly distributed over `0..shards`.
    #[must_use]
    pub fn shard(&self, shards: u64) -> u64 {
        let hash = digest(&["shard", self.run.subject.key.digest()]);
        u64::from_str_radix(&hash[..8], 16).unwrap_or(0) % shards.max(1)
    }

    /// Reads a document, including the changes that this run has staged for it.
    ///
    /// # Errors
    /// [`Failure::Retry`] if the store fails, or if the document is not a `D`.
    pub async fn get<D: Document>(&self, id: impl AsRef<str> + Send) -> Result<Option<D>, Failure> {
        let path = self.path::<D>(id.as_ref());
        let is_known = self.staged().knows(&path);
        if !is_known {
            let found = self.run.store.get(&path).await?;
            // Two reads of a handler may overlap. Only the first one counts: a change may already depend on it.
            self.staged().staging(&path).read.get_or_insert(found);
        }
        let fields = self.staged().staging(&path).current();
        Ok(fields.map(|fields| serde_json::from_value(Value::Object(fields))).transpose()?)
    }

    /// Stages a document that must not exist yet.
    ///
    /// This reads nothing: it assumes that the document does not exist. If the commit is refused because the
    /// document exists, the handler runs again and gets [`Created::Exists`].
    pub fn create<D: Document>(&self, document: &D) -> Created {
        let mut staged = self.staged();
        let Some(fields) = staged.fields(document) else { return Created::New };
        let staging = staged.staging(&self.path::<D>(&document.id()));
        if staging.exists() {
            return Created::Exists;
        }
        staging.change = Some(Change::Set(fields));
        staging.created = true;
        Created::New
    }

    /// Stages a document. If this run has read it, the commit requires that it has not changed.
    pub fn put<D: Document>(&self, document: &D) {
        let mut staged = self.staged();
        let change = staged.fields(document).map(Change::Set);
        staged.staging(&self.path::<D>(&document.id())).change = change;
    }

    /// Adds the integer fields that `amounts` names to the stored ones, and sets the other fields. This reads
    /// nothing. Without a [`get`](Self::get) of the document, it never conflicts. A document accepts about one
    /// write per second, so spread hot documents over [shards](Self::shard).
    pub fn add<D: Document>(&self, document: &D, amounts: &[&str]) {
        let mut staged = self.staged();
        let Some(fields) = staged.fields(document) else { return };
        let (found, fields): (Fields, Fields) =
            fields.into_iter().partition(|(name, _)| amounts.contains(&name.as_str()));
        let found: BTreeMap<String, i64> =
            found.into_iter().filter_map(|(name, value)| Some((name, value.as_i64()?))).collect();
        if found.len() < amounts.len() {
            // If it added nothing instead, nobody would notice.
            staged.mistake = Some(format!("{} has no integer field for each of {amounts:?}", D::COLLECTION));
            return;
        }
        staged.staging(&self.path::<D>(&document.id())).add(fields, found);
    }

    /// Stages the removal of a document.
    pub fn delete<D: Document>(&self, id: impl AsRef<str>) {
        let path = self.path::<D>(id.as_ref());
        self.staged().staging(&path).change = Some(Change::Delete);
    }

    /// Stages an event. It is published after the commit.
    pub fn publish<E: Event>(&self, event: &E) {
        let Subject { service, publishes, .. } = &*self.run.subject;
        let mut staged = self.staged();
        if !publishes.now.contains(&E::TYPE) {
            // The grant in the cloud comes from the declaration.
            staged.mistake = Some(format!("{service} does not declare that it publishes {}", E::TYPE));
            return;
        }
        let id = self.event_id(&mut staged);
        staged.push(event, &self.run, &id, None);
    }

    /// Stages an event that is published at `time`, or at once if that has passed.
    ///
    /// A timer may be late, and a late timer must not change a result. So each route and each call to the outside
    /// that has a deadline compares the deadline with the current time. The handler of the timer checks that the
    /// document still waits for the deadline for which the timer was set.
    ///
    /// The time must be at most [`timer_horizon`](crate::Timing::timer_horizon) away, the data at most
    /// [64 KiB](crate::wire::limit::TIMER_DATA_BYTES), and the service must [declare](crate::Service::delays) the
    /// event. Otherwise nothing is committed.
    pub fn publish_at<E: Event>(&self, event: &E, time: Timestamp) {
        let id = self.event_id(&mut self.staged());
        self.delay(event, time, &id);
    }

    /// Like [`publish_at`](Self::publish_at), with a name by which [`cancel`](Self::cancel) finds it: the event's type
    /// and `id`.
    ///
    /// A name is used once. To move a timer, cancel it and set one with another id. The event may come although
    /// it was cancelled, so its handler must compare it with the document that it belongs to.
    pub fn publish_at_named<E: Event>(&self, event: &E, time: Timestamp, id: &str) {
        let event_id = named::<E>(id);
        let timer = timer_id(self.run.subject.service, &event_id);
        if self.staged().outbox.cancels.contains(&timer) {
            let mistake = format!("a timer for {} has a name that was cancelled", E::TYPE);
            self.staged().mistake = Some(mistake);
            return;
        }
        self.delay(event, time, &event_id);
    }

    /// Stages the cancellation of an event that [`publish_at_named`](Self::publish_at_named) has staged, in this or
    /// in an earlier commit of this service. It saves work, and guarantees nothing: the event may come.
    pub fn cancel<E: Event>(&self, id: &str) {
        if !self.may_delay::<E>() {
            return;
        }
        let event_id = named::<E>(id);
        let Outbox { events, cancels } = &mut self.staged().outbox;
        events.retain(|event| event.id() != event_id);
        cancels.push(timer_id(self.run.subject.service, &event_id));
    }

    fn delay<E: Event>(&self, event: &E, time: Timestamp, id: &str) {
        if !self.may_delay::<E>() {
            return;
        }
        let mut staged = self.staged();
        if time > self.run.horizon {
            staged.mistake = Some(format!("{} is due in more than 29 days", E::TYPE));
            return;
        }
        staged.push(event, &self.run, id, Some(time));
    }

    fn may_delay<E: Event>(&self) -> bool {
        let Subject { service, publishes, .. } = &*self.run.subject;
        let is_declared = publishes.later.contains(&E::TYPE);
        if !is_declared {
            // The queue in the cloud comes from the declaration.
            self.staged().mistake = Some(format!("{service} does not declare that it delays {}", E::TYPE));
        }
        is_declared
    }

    fn path<D: Document>(&self, id: &str) -> Path {
        Path::new(self.run.subject.service, D::COLLECTION, id)
    }

    fn staged(&self) -> MutexGuard<'_, Staged> {
        self.run.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run and returns its reads and staged writes.
    pub(crate) fn take(&self) -> Staged {
        std::mem::take(&mut *self.staged())
    }
}

impl Staging {
    fn is_known(&self) -> bool {
        self.read.is_some() || matches!(self.change, Some(Change::Set(_) | Change::Delete))
    }

    /// Whether the document exists for the handler. Without a read, it is assumed not to exist.
    fn exists(&self) -> bool {
        match &self.change {
            Some(Change::Set(_) | Change::Add { .. }) => true,
            Some(Change::Delete) => false,
            Some(Change::Verify) | None => matches!(self.read, Some(Some(_))),
        }
    }

    /// The document as the handler sees it.
    fn current(&self) -> Option<Fields> {
        let read = || self.read.as_ref()?.as_ref().map(|stored| stored.fields.clone());
        match &self.change {
            Some(Change::Set(fields)) => Some(fields.clone()),
            Some(Change::Delete) => None,
            Some(Change::Add { fields, amounts }) => {
                let mut document = read().unwrap_or_default();
                store::add(&mut document, fields, amounts);
                Some(document)
            }
            Some(Change::Verify) | None => read(),
        }
    }

    /// Adds to the change that is already staged.
    fn add(&mut self, fields: Fields, amounts: BTreeMap<String, i64>) {
        self.change = Some(match self.change.take() {
            None | Some(Change::Verify) => Change::Add { fields, amounts },
            Some(Change::Add { fields: mut all, amounts: mut sums }) => {
                all.extend(fields);
                for (name, amount) in amounts {
                    *sums.entry(name).or_default() += amount;
                }
                Change::Add { fields: all, amounts: sums }
            }
            // The whole document is known here, so the addition happens here, too.
            Some(Change::Set(mut document)) => {
                store::add(&mut document, &fields, &amounts);
                Change::Set(document)
            }
            Some(Change::Delete) => {
                let mut document = Fields::new();
                store::add(&mut document, &fields, &amounts);
                Change::Set(document)
            }
        });
    }

    fn only_if(&self) -> Precondition {
        match &self.read {
            Some(Some(stored)) => Precondition::At(stored.version),
            Some(None) => Precondition::Absent,
            None if self.created => Precondition::Absent,
            None => Precondition::None,
        }
    }
}

/// The id of an event with a name. The event's source belongs to it, so another service may use the same name.
fn named<E: Event>(id: &str) -> String {
    let mut event_id = digest(&["named", E::TYPE, id]);
    event_id.truncate(32);
    event_id
}

impl Staged {
    fn push<E: Event>(&mut self, event: &E, run: &Run, id: &str, at: Option<Timestamp>) {
        let Subject { service, origin, trace, .. } = &*run.subject;
        match Outgoing::new(event, service, id, run.now, at, origin, trace) {
            Ok(outgoing) if outgoing.is_too_large_for_its_timer() => {
                self.mistake = Some(format!("{} is too large for a timer", E::TYPE));
            }
            Ok(outgoing) => self.outbox.events.push(outgoing),
            Err(error) => {
                let error = json::describe(&error);
                self.mistake = Some(format!("{} is not JSON: {error}", E::TYPE));
            }
        }
    }

    /// Whether this run knows the document without a read. A document is staged only after its read, so that a read
    /// that fails leaves no write.
    fn knows(&self, path: &Path) -> bool {
        match self.documents.get(path) {
            Some(staging) => staging.is_known(),
            None => self.known.0.contains_key(path),
        }
    }

    /// The read and the staged change of a document.
    fn staging(&mut self, path: &Path) -> &mut Staging {
        let known = &mut self.known.0;
        self.documents
            .entry(path.clone())
            .or_insert_with(|| Box::new(Staging { read: known.remove(path), ..Staging::default() }))
    }

    fn fields<D: Document>(&mut self, document: &D) -> Option<Fields> {
        store::fields(document)
            .map_err(|error| {
                let error = json::describe(&error);
                self.mistake = Some(format!("{} is not a struct: {error}", D::COLLECTION));
            })
            .ok()
    }

    /// The writes of this run. A document that was only read is verified, so that no decision rests on a
    /// document that has changed.
    pub(crate) fn into_writes(self) -> impl Iterator<Item = Write> {
        self.documents.into_iter().map(|(path, staging)| {
            let only_if = staging.only_if();
            Write { path, change: staging.change.unwrap_or(Change::Verify), only_if }
        })
    }

    /// Writes that verify all documents that this run has read or assumed to be absent.
    pub(crate) fn into_verification(self) -> Vec<Write> {
        let used =
            self.documents.into_iter().filter(|(_, staging)| staging.read.is_some() || staging.created);
        let verify = |(path, staging): (Path, Box<Staging>)| Write {
            path,
            change: Change::Verify,
            only_if: staging.only_if(),
        };
        used.map(verify).collect()
    }
}

/// The documents that were read before a run begins.
#[derive(Default)]
pub(crate) struct Known(BTreeMap<Path, Option<Stored>>);

impl Known {
    /// Reads the documents that a run assumed to be absent, because one of them may be the reason for the
    /// conflict. The next run knows them.
    pub(crate) async fn recheck(store: &dyn Store, refused: &[Write]) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for Write { path, .. } in refused.iter().filter(|write| write.only_if == Precondition::Absent) {
            known.insert(path.clone(), store.get(path).await?);
        }
        Ok(Self(known))
    }
}
