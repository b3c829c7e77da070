//! What the console shows and offers beyond the services: the stack's host provides it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use pushbox::{Offset, audit::Balance, store::Store};

use super::{badges::quoted, letters::Replays};
use crate::Stack;

/// A request that a newcomer can make from the console.
#[derive(Clone, Debug)]
pub struct Try {
    /// Its name in the URL.
    pub id: &'static str,
    /// The text of the button.
    pub label: &'static str,
    /// What will happen.
    pub about: &'static str,
    /// Where to post: a path of this stack.
    pub path: &'static str,
    /// The body. `{number}` is replaced by a number that grows with each request.
    pub body: &'static str,
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
    /// Why it was declined. None if the money is taken.
    pub declined: Option<String>,
}

impl Try {
    /// The body of the next request.
    pub(crate) fn next_body(&self, stack: &Stack) -> String {
        let number = stack.extras.tried.load(Ordering::Relaxed) + 1;
        self.body.replace("{number}", &number.to_string())
    }
}

impl Switch {
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }
}

pub(crate) type Source<T> = Arc<dyn Fn() -> BoxFuture<'static, Vec<T>> + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Extras {
    pub(crate) store: Option<Arc<dyn Store>>,
    /// The project in the names of subscriptions.
    pub(crate) project: Arc<str>,
    pub(crate) tries: Arc<[Try]>,
    /// How many times something was tried.
    pub(crate) tried: Arc<AtomicU64>,
    pub(crate) switches: Arc<[Switch]>,
    /// An example of each type of event, as JSON.
    pub(crate) examples: Arc<BTreeMap<String, String>>,
    pub(crate) payments: Option<Source<Payment>>,
    pub(crate) balances: Option<Source<Balance>>,
    pub(crate) clock: Option<Offset>,
    pub(crate) replays: Replays,
    /// The port, for the command lines. 0 if it is not known.
    pub(crate) port: u16,
}

impl Stack {
    /// Reads the receipts in this store, to tell what an event has caused. `project` is the one in the names of the
    /// subscriptions.
    #[must_use]
    pub fn with_receipts(mut self, store: Arc<dyn Store>, project: &str) -> Self {
        (self.extras.store, self.extras.project) = (Some(store), project.into());
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
        Fut: Future<Output = Vec<Payment>> + Send + 'static,
    {
        self.extras.payments = Some(Arc::new(move || payments().boxed()));
        self
    }

    /// Shows command lines for this port.
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

    /// Shows the counts that must agree.
    #[must_use]
    pub fn with_balances<F, Fut>(mut self, balances: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Balance>> + Send + 'static,
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
