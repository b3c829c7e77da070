//! The runtime alone must see to it that everything is handled once: these services have no rule of
//! their own that would catch a repeat. They count.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, routing::post};
use events::Event;
use pushbox::{
    Clock, Command, Context, Document, Failure, Path, Ports, Problem, Reply, Service, System,
    store::{Change, Fields, Precondition, Store, Write},
    timing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use simulation::{Scenario, World};

/// So many deposits, all into one account.
const DEPOSITS: usize = 4;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Deposited {
    account: String,
    amount: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Booked {
    balance: i64,
}

impl Event for Deposited {
    const TYPE: &'static str = "deposited";
    const TOPIC: &'static str = "bank-events";
}

impl Event for Booked {
    const TYPE: &'static str = "booked";
    const TOPIC: &'static str = "bank-events";
}

#[derive(Serialize, Deserialize)]
struct Account {
    account: String,
    balance: i64,
}

impl Document for Account {
    const COLLECTION: &'static str = "accounts";
    fn id(&self) -> String {
        self.account.clone()
    }
}

#[derive(Serialize, Deserialize)]
struct Tally {
    count: i64,
}

impl Document for Tally {
    const COLLECTION: &'static str = "tallies";
    fn id(&self) -> String {
        "all".to_owned()
    }
}

async fn deposit(command: Command<Deposited>) -> Result<Reply, Problem> {
    let deposited = command.body.clone();
    command
        .run(deposited, |deposited, cx| async move {
            cx.publish(&deposited);
            Ok(Reply::accepted(&cx.new_id()))
        })
        .await
}

/// Reads, changes, writes: the balance is right only if each deposit is booked once, and none in
/// between is overwritten.
async fn book(deposited: Deposited, cx: Context) -> Result<(), Failure> {
    let empty = Account { account: deposited.account.clone(), balance: 0 };
    let mut account = cx.get::<Account>(&deposited.account).await?.unwrap_or(empty);
    account.balance += deposited.amount;
    cx.put(&account);
    cx.publish(&Booked { balance: account.balance });
    Ok(())
}

async fn audit(_: Booked, cx: Context) -> Result<(), Failure> {
    cx.add(&Tally { count: 1 }, &["count"]);
    Ok(())
}

/// An outside world that does not know idempotency keys. It writes down when it was called.
#[derive(Clone)]
struct Outside {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Outside {
    async fn call(self, key: String) -> Result<(), Failure> {
        let at = self.clock.now().as_millisecond();
        let path = Path::new("outside", "calls", &format!("{key} {at:015}"));
        let fields = Fields::from_iter([("key".to_owned(), key.into()), ("at".to_owned(), at.into())]);
        let write = Write { path, change: Change::Set(fields), only_if: Precondition::None };
        // It goes on until it is through, so that no claim is released before its lease is over.
        while self.store.commit(std::slice::from_ref(&write)).await.is_err() {}
        Ok(())
    }
}

async fn claim(deposited: Deposited, _: Context) -> Result<Option<Deposited>, Failure> {
    Ok(Some(deposited))
}

async fn complete(_: Deposited, (): (), cx: Context) -> Result<(), Failure> {
    cx.add(&Tally { count: 1 }, &["count"]);
    Ok(())
}

struct Bank;

impl Scenario for Bank {
    fn systems(ports: &Ports) -> Vec<System> {
        let outside = Outside { store: ports.store.clone(), clock: ports.clock.clone() };
        let tell = move |_: Deposited, key| outside.clone().call(key);
        let services = vec![
            Service::new("teller", "takes deposits")
                .publishes::<Deposited>()
                .routes(Router::new().route("/deposits", post(deposit))),
            Service::new("ledger", "books them").publishes::<Booked>().on(book),
            Service::new("auditor", "counts what is booked").on(audit),
            Service::new("messenger", "tells the outside").effect(claim, tell, complete),
        ];
        vec![System { name: "bank", services }]
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let deposits = (0..DEPOSITS).map(|number| {
            let world = world.clone();
            async move {
                world.wait(Duration::from_secs(10)).await;
                let body = json!({ "account": "only", "amount": 1 << number });
                world.insist("teller", "/deposits", &format!("deposit-{number}"), &body).await
            }
        });
        let answers = futures::future::join_all(deposits).await;
        if let Some(refused) = answers.iter().find(|answer| answer.status != 202) {
            return Err(format!("a deposit was refused: {refused:?}"));
        }
        world.settle().await?;

        // Each deposit is another power of two, so that the sums tell which ones are in it.
        let balances = world.documents("ledger/accounts").await;
        let balances: i64 = balances.iter().filter_map(|account| account["balance"].as_i64()).sum();
        expect("balances", balances, (1 << DEPOSITS) - 1)?;
        for service in ["auditor", "messenger"] {
            let tally = world.documents(&format!("{service}/tallies")).await;
            expect(service, tally[0]["count"].as_i64().unwrap_or(0), DEPOSITS as i64)?;
        }

        let mut calls = BTreeMap::<String, Vec<i64>>::new();
        for call in world.documents("outside/calls").await {
            let at = call["at"].as_i64().unwrap_or(0);
            calls.entry(call["key"].to_string()).or_default().push(at);
        }
        expect("calls to the outside", calls.len() as i64, DEPOSITS as i64)?;
        let lease = timing::LEASE.as_millis() as i64;
        let handler = timing::HANDLER_DEADLINE.as_millis() as i64;
        for (key, mut times) in calls {
            times.sort_unstable();
            // A call begins at the latest when its handler's deadline ends.
            if let Some(pair) = times.windows(2).find(|pair| pair[1] - pair[0] < lease - handler) {
                return Err(format!("two at a time called the outside with {key}: {pair:?}"));
            }
        }
        Ok(())
    }
}

fn expect(what: &str, found: i64, expected: i64) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, expected {expected}")) }
}

#[test]
fn the_runtime_handles_everything_once() {
    println!("{:?}", simulation::check(&Bank));
}
