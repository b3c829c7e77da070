//! Receipts, transactions, effects and commands under failures. Tokio's clock is paused, so a wait of
//! 20 seconds takes no time.

mod commands;
mod consumers;
mod effects;
mod exhausted;
mod rejections;
mod replays;
mod stories;
mod timers;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use pushbox::{
    Context, Document, Effect, Failure, Path, Service, reject,
    store::{Change, Precondition, Write},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use crate::suite::{Count, Log, Placed, SERVICE, Shipped, count, service};

/// A write of a count by another process.
fn set_count(id: &str, n: i64) -> Write {
    let Ok(Value::Object(fields)) = serde_json::to_value(count(id, n)) else { panic!("an object") };
    change_count(id, Change::Set(fields))
}

/// A change of a count by another process.
fn change_count(id: &str, change: Change) -> Write {
    Write { path: Path::new(SERVICE, Count::COLLECTION, id), change, only_if: Precondition::None }
}

/// A call to the outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Charge {
    order: String,
    amount: i64,
}

/// How the outside answers a call.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Yes,
    /// Yes, after this many milliseconds.
    Slowly(u64),
    Retry,
    Reject,
    Never,
    Panic,
}

/// The outside world: the calls with their idempotency keys, and the next answers.
#[derive(Clone, Default)]
struct Outside {
    calls: Log<(String, Charge)>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    called: Arc<Notify>,
    /// Whether the handler of a refused call panics.
    breaks_abandon: Arc<AtomicBool>,
}

impl Outside {
    /// Answers the next calls in this way, one each. It answers all others with yes.
    fn next(&self, answers: &[Answer]) {
        self.answers.lock().expect("a lock").extend(answers);
    }

    async fn charge(self, charge: Charge, key: String) -> Result<String, Failure> {
        self.calls.push((key, charge));
        let answer = self.answers.lock().expect("a lock").pop_front().unwrap_or(Answer::Yes);
        let number = self.calls.len();
        self.called.notify_one();
        match answer {
            Answer::Yes => {}
            Answer::Slowly(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            Answer::Retry => return Err(Failure::Retry("injected".to_owned())),
            Answer::Reject => return Err(reject("the card is void")),
            Answer::Never => std::future::pending().await,
            Answer::Panic => panic!("injected"),
        }
        Ok(format!("charge {number}"))
    }

    /// The number of calls, and the number of calls that differ in their key or input.
    fn call_counts(&self) -> (usize, usize) {
        let calls = self.calls.all();
        let different: BTreeSet<String> = calls.iter().map(|call| format!("{call:?}")).collect();
        (calls.len(), different.len())
    }
}

type Step<T> = BoxFuture<'static, Result<T, Failure>>;

/// An effect whose claim and completion are functions.
#[derive(Clone)]
struct Charging {
    outside: Outside,
    claim: fn(Placed, Context) -> Step<Option<Charge>>,
    complete: fn(Charge, String, Context) -> Step<()>,
}

impl Effect for Charging {
    type Event = Placed;
    type Call = Charge;
    type Outcome = String;

    const SECRETS: &[&str] = &[];

    async fn claim(&self, placed: Placed, cx: Context) -> Result<Option<Charge>, Failure> {
        (self.claim)(placed, cx).await
    }

    async fn perform(&self, charge: Charge, key: String) -> Result<String, Failure> {
        self.outside.clone().charge(charge, key).await
    }

    async fn complete(&self, charge: Charge, outcome: String, cx: Context) -> Result<(), Failure> {
        (self.complete)(charge, outcome, cx).await
    }

    async fn abandon(&self, charge: Charge, cx: Context) -> Result<(), Failure> {
        assert!(!self.outside.breaks_abandon.load(Ordering::Relaxed), "injected");
        cx.delete::<Count>(&charge.order);
        Ok(())
    }
}

/// Charges each order once, even if several events place it.
fn charging_each_order_once(outside: &Outside) -> Service {
    service().publishes::<Shipped>().effect(Charging {
        outside: outside.clone(),
        claim: |placed, cx| {
            let is_new = cx.create(&count(&placed.order, 0)).is_new();
            async move { Ok(is_new.then_some(Charge { order: placed.order, amount: 1 })) }.boxed()
        },
        complete: |charge, _, cx| {
            cx.put(&count(&charge.order, charge.amount));
            cx.publish(&Shipped { order: charge.order });
            async { Ok(()) }.boxed()
        },
    })
}
