//! The transaction: what a handler reads and stages.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Document, Event, Failure, Path, ServiceName, json,
    key::{Key, digest},
    message::Outgoing,
    store::{self, Change, Fields, Precondition, Store, StoreError, Stored, Write},
    trace::Trace,
};

/// A handler's only way to the outside: its transaction.
///
/// What it stages is committed whole, with the receipt, in one commit; and only if nothing that it
/// read has changed meanwhile. Otherwise the handler runs again from the start, so it must have no
/// other way to the outside.
#[derive(Clone)]
pub struct Context {
    run: Arc<Run>,
}

/// Whether [`Context::create`] has staged the document.
#[must_use = "a document that exists is not created; decide what that means"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// There is no such document, as far as is known: it is staged.
    New,
    /// There is one already; nothing is staged.
    Exists,
}

impl Created {
    /// Whether it is staged.
    pub fn is_new(self) -> bool {
        self == Self::New
    }

    /// Whether there is one already.
    pub fn exists(self) -> bool {
        self == Self::Exists
    }
}

/// What is being handled; the same on each re-run.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) service: ServiceName,
    pub(crate) publishes: Arc<[&'static str]>,
    pub(crate) key: Key,
    /// The message that is handled; none for a command.
    pub(crate) message_id: Option<String>,
    pub(crate) occurred_at: Timestamp,
    pub(crate) trace: Trace,
}

struct Run {
    subject: Subject,
    /// Random, and the same on each re-run: what all new ids derive from.
    nonce: String,
    store: Arc<dyn Store>,
    now: Timestamp,
    staged: Mutex<Staged>,
}

/// What one run has read and staged.
#[derive(Default)]
pub(crate) struct Staged {
    documents: BTreeMap<Path, Staging>,
    /// Documents that are known from before this run, until it uses them.
    known: Known,
    pub(crate) events: Vec<Outgoing>,
    ids: u32,
    /// An error of the program, which must not be committed.
    mistake: Option<String>,
}

#[derive(Default)]
struct Staging {
    /// What the store held, once it has been asked. `create` does not ask.
    read: Option<Option<Stored>>,
    created: bool,
    change: Option<Change>,
}

impl Context {
    pub(crate) fn new(
        subject: Subject,
        nonce: String,
        store: Arc<dyn Store>,
        now: Timestamp,
        known: Known,
    ) -> Self {
        let staged = Mutex::new(Staged { known, ..Staged::default() });
        Self { run: Arc::new(Run { subject, nonce, store, now, staged }) }
    }

    /// When this run began.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.run.now
    }

    /// When the event happened, however late it arrived.
    #[must_use]
    pub fn occurred_at(&self) -> Timestamp {
        self.run.subject.occurred_at
    }

    /// A new id: 32 hexadecimal digits that nobody can guess, and that are the same on each re-run.
    #[must_use]
    pub fn new_id(&self) -> String {
        let mut staged = self.staged();
        staged.ids += 1;
        self.derive("id", staged.ids as usize)
    }

    /// Derives an id from this handling's nonce.
    fn derive(&self, kind: &str, number: usize) -> String {
        let mut id = digest(&[kind, &self.run.nonce, &number.to_string()]);
        id.truncate(32);
        id
    }

    /// The shard of this event or command. Over all of them, shards are spread evenly over
    /// `0..shards`.
    #[must_use]
    pub fn shard(&self, shards: u64) -> u64 {
        let hash = digest(&["shard", self.run.subject.key.digest()]);
        u64::from_str_radix(&hash[..8], 16).unwrap_or(0) % shards.max(1)
    }

    /// Reads a document, with what this run has staged for it.
    ///
    /// # Errors
    /// [`Failure::Retry`] when the store fails, or holds something that is not a `D`.
    pub async fn get<D: Document>(&self, id: impl AsRef<str> + Send) -> Result<Option<D>, Failure> {
        let path = self.path::<D>(id.as_ref());
        let is_known = self.staged().staging(&path).is_known();
        if !is_known {
            let found = self.run.store.get(&path).await?;
            self.staged().staging(&path).read = Some(found);
        }
        let fields = self.staged().staging(&path).current();
        Ok(fields.map(|fields| serde_json::from_value(Value::Object(fields))).transpose()?)
    }

    /// Stages a document that must not exist yet.
    ///
    /// This does not ask the store: it assumes that there is no such document. If the commit is
    /// refused because there is one, the handler runs again and then gets [`Created::Exists`].
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

    /// Stages a document. If this run has read it, the commit fails if it has changed since.
    pub fn put<D: Document>(&self, document: &D) {
        let mut staged = self.staged();
        let change = staged.fields(document).map(Change::Set);
        staged.staging(&self.path::<D>(&document.id())).change = change;
    }

    /// Adds the numeric fields named in `amounts` to what is stored, and sets the other fields.
    /// This neither reads nor loses a race. A document takes about one write a second, so spread
    /// what is hot over [shards](Self::shard).
    pub fn add<D: Document>(&self, document: &D, amounts: &[&str]) {
        let mut staged = self.staged();
        let Some(fields) = staged.fields(document) else { return };
        let (found, fields): (Fields, Fields) =
            fields.into_iter().partition(|(name, _)| amounts.contains(&name.as_str()));
        let found: BTreeMap<String, i64> =
            found.into_iter().filter_map(|(name, value)| Some((name, value.as_i64()?))).collect();
        if found.len() < amounts.len() {
            // To add nothing instead would go unnoticed.
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

    /// Stages an event. It is published once the commit is through.
    pub fn publish<E: Event>(&self, event: &E) {
        let Subject { service, trace, publishes, .. } = &self.run.subject;
        let mut staged = self.staged();
        if !publishes.contains(&E::TYPE) {
            // The catalog, and with it the grants in the cloud, would not know.
            staged.mistake = Some(format!("{service} does not declare that it publishes {}", E::TYPE));
            return;
        }
        let id = self.derive("event", staged.events.len());
        match Outgoing::new(event, service, &id, self.run.now, trace) {
            Ok(outgoing) => staged.events.push(outgoing),
            Err(error) => {
                let error = json::describe(&error);
                staged.mistake = Some(format!("{} is not JSON: {error}", E::TYPE));
            }
        }
    }

    fn path<D: Document>(&self, id: &str) -> Path {
        Path::new(self.run.subject.service, D::COLLECTION, id)
    }

    fn staged(&self) -> MutexGuard<'_, Staged> {
        self.run.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run and takes what it staged.
    pub(crate) fn take(&self) -> Result<Staged, Failure> {
        let mut staged = std::mem::take(&mut *self.staged());
        staged.mistake.take().map_or(Ok(staged), |mistake| Err(Failure::Retry(mistake)))
    }
}

impl Staging {
    fn is_known(&self) -> bool {
        self.read.is_some() || matches!(self.change, Some(Change::Set(_) | Change::Delete))
    }

    /// Whether the handler sees a document here. It assumes that there is none where nobody has
    /// asked the store.
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

    /// On top of what is staged already.
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
            // All of the document is known here, so nothing is left for the store to add to.
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

impl Staged {
    /// What this run has read and staged of a document.
    fn staging(&mut self, path: &Path) -> &mut Staging {
        let known = &mut self.known.0;
        self.documents
            .entry(path.clone())
            .or_insert_with(|| Staging { read: known.remove(path), ..Staging::default() })
    }

    fn fields<D: Document>(&mut self, document: &D) -> Option<Fields> {
        store::fields(document)
            .map_err(|error| {
                let error = json::describe(&error);
                self.mistake = Some(format!("{} is not a struct: {error}", D::COLLECTION));
            })
            .ok()
    }

    /// The writes of this run. What was read and not written is verified, so that a decision never
    /// rests on something that has changed.
    pub(crate) fn into_writes(self) -> impl Iterator<Item = Write> {
        self.documents.into_iter().map(|(path, staging)| {
            let only_if = staging.only_if();
            Write { path, change: staging.change.unwrap_or(Change::Verify), only_if }
        })
    }

    /// Checks that all that this run has read, or assumed to be absent, is so at one time.
    pub(crate) fn into_verification(self) -> Vec<Write> {
        let used =
            self.documents.into_iter().filter(|(_, staging)| staging.read.is_some() || staging.created);
        let verify = |(path, staging): (Path, Staging)| Write {
            path,
            change: Change::Verify,
            only_if: staging.only_if(),
        };
        used.map(verify).collect()
    }
}

/// What is known of documents before a run begins.
#[derive(Default)]
pub(crate) struct Known(BTreeMap<Path, Option<Stored>>);

impl Known {
    /// Asks the store for what a run assumed to be absent: one of them may be why its commit was
    /// refused. The next run knows.
    pub(crate) async fn recheck(store: &dyn Store, refused: &[Write]) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for Write { path, .. } in refused.iter().filter(|write| write.only_if == Precondition::Absent) {
            known.insert(path.clone(), store.get(path).await?);
        }
        Ok(Self(known))
    }
}
