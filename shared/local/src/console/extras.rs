//! What the console shows and offers beyond the services: the stack's host provides it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use pushbox::{
    Offset, ServiceName,
    audit::Balance,
    store::{Memory, Store, StoreError},
};
use redrive::Names;

use super::{badges::quoted, letters::Replays};
use crate::Stack;

/// A request that a newcomer can make from the console.
#[derive(Clone, Debug)]
pub struct Try {
    /// Its name in the URL.
    pub id: &'static str,
    /// The system that it is for.
    pub system: &'static str,
    /// The text of the button.
    pub label: &'static str,
    /// What will happen.
    pub about: &'static str,
    /// Where to post: a path of this stack.
    pub path: &'static str,
    /// The body. `{number}` is replaced by a number that grows with each request, and `{run}` by one that differs in
    /// each process.
    pub body: &'static str,
    /// The path and the body of a request that opens an account first. The request then has its access token.
    pub account: Option<(&'static str, &'static str)>,
}

/// A fault of the outside world that a person can turn on.
#[derive(Clone)]
pub struct Switch {
    /// Its name in the URL.
    pub id: &'static str,
    /// The fault, such as `declines every card`.
    pub label: &'static str,
    /// What has the fault, such as `payment gateway`.
    pub of: &'static str,
    /// Whether it is on.
    pub is_on: Arc<AtomicBool>,
}

/// A charge at the local payment gateway.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The idempotency key.
    pub key: String,
    /// When it was made.
    pub at: Timestamp,
    /// The user or the order that it is for.
    pub reference: String,
    /// The amount, for people.
    pub amount: String,
    /// The payment method.
    pub method: String,
    /// How many times the gateway was asked for it.
    pub asked: u64,
    /// Why it was declined. None if the money is taken.
    pub declined: Option<String>,
}

impl Try {
    /// A body with these numbers.
    pub(crate) fn filled(body: &str, number: u64) -> String {
        // Emulators keep the accounts of earlier processes.
        static RUN: LazyLock<String> = LazyLock::new(|| Timestamp::now().as_second().to_string());
        body.replace("{number}", &number.to_string()).replace("{run}", &RUN)
    }
}

impl Switch {
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }
}

/// The documents in memory, and the most bytes that they may take.
#[derive(Clone)]
pub(crate) struct Bounds {
    pub(crate) memory: Arc<Memory>,
    pub(crate) most_documents: usize,
    pub(crate) most_receipts: usize,
}

impl Bounds {
    pub(crate) fn is_full(&self) -> bool {
        self.memory.used().documents >= self.most_documents
    }
}

pub(crate) type Source<T> = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<T>, StoreError>> + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Extras {
    pub(crate) store: Option<Arc<dyn Store>>,
    /// The names of subscriptions.
    pub(crate) names: Names,
    pub(crate) tries: Arc<[Try]>,
    /// How many times something was tried.
    pub(crate) tried: Arc<AtomicU64>,
    pub(crate) switches: Arc<[Switch]>,
    /// An example of each type of event, as JSON.
    pub(crate) examples: Arc<BTreeMap<String, String>>,
    pub(crate) payments: Option<Source<Payment>>,
    pub(crate) balances: Option<Source<(&'static str, Balance)>>,
    pub(crate) clock: Option<Offset>,
    pub(crate) replays: Replays,
    /// The fault points that each service reaches.
    pub(crate) fault_points: Arc<BTreeMap<String, Vec<&'static str>>>,
    pub(crate) memory: Option<Bounds>,
    /// The port, for the command lines. 0 if it is not known.
    pub(crate) port: u16,
}

impl Stack {
    /// Reads the receipts in this store, to tell what an event has caused. `project` is the one in the names of the
    /// subscriptions.
    #[must_use]
    pub fn with_receipts(mut self, store: Arc<dyn Store>, project: &str) -> Self {
        self.extras.store = Some(store);
        self.extras.names.project = project.to_owned();
        self
    }

    /// Offers these requests.
    #[must_use]
    pub fn with_tries(mut self, tries: impl IntoIterator<Item = Try>) -> Self {
        self.extras.tries = tries.into_iter().collect();
        self
    }

    /// Offers these faults of the outside world.
    #[must_use]
    pub fn with_switches(mut self, switches: impl IntoIterator<Item = Switch>) -> Self {
        self.extras.switches = switches.into_iter().collect();
        self
    }

    /// Offers these events to send: the type and an example as JSON.
    #[must_use]
    pub fn with_examples<'a>(mut self, examples: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = examples.into_iter().map(|(name, example)| (name.to_owned(), example.to_owned()));
        self.extras.examples = Arc::new(owned.collect());
        self
    }

    /// Shows the payments that `payments` returns, in that order.
    #[must_use]
    pub fn with_payments<F, Fut>(mut self, payments: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Payment>, StoreError>> + Send + 'static,
    {
        self.extras.payments = Some(Arc::new(move || payments().boxed()));
        self
    }

    /// Offers to kill each service at these of its [fault points](pushbox::Crash::POINTS).
    #[must_use]
    pub fn with_fault_points(
        mut self,
        points: impl IntoIterator<Item = (ServiceName, Vec<&'static str>)>,
    ) -> Self {
        let owned = points.into_iter().map(|(service, points)| (service.to_owned(), points));
        self.extras.fault_points = Arc::new(owned.collect());
        self
    }

    pub(crate) fn fault_points(&self, service: &str) -> &[&'static str] {
        self.extras.fault_points.get(service).map_or(&[], Vec::as_slice)
    }

    /// Takes no new work while the documents in `memory` take more than this many bytes. `most_receipts` is its own
    /// bound.
    #[must_use]
    pub fn with_memory(mut self, memory: Arc<Memory>, most_documents: usize, most_receipts: usize) -> Self {
        self.extras.memory = Some(Bounds { memory, most_documents, most_receipts });
        self
    }

    /// Shows command lines for this port, and serves requests to this port only.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.extras.port = port;
        self
    }

    /// The command line that posts these fields.
    pub(crate) fn curl(&self, path: &str, fields: &[&str]) -> String {
        let fields: String = fields.iter().map(|field| format!(" -d {}", quoted(field))).collect();
        let post = if fields.is_empty() { " -X POST" } else { &fields };
        format!("curl{post} {}{path}", self.base())
    }

    /// The beginning of all URLs of this stack.
    pub(crate) fn base(&self) -> String {
        format!("http://localhost:{}", self.extras.port)
    }

    /// Shows the counts that must agree, each with its system.
    #[must_use]
    pub fn with_balances<F, Fut>(mut self, balances: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<(&'static str, Balance)>, StoreError>> + Send + 'static,
    {
        self.extras.balances = Some(Arc::new(move || balances().boxed()));
        self
    }

    /// Offers to move the clock by this offset. The broker, the tasks, the store and the services must follow it.
    #[must_use]
    pub fn with_clock(mut self, clock: Offset) -> Self {
        self.extras.clock = Some(clock);
        self
    }
}
