//! The runtime alone must ensure that every event is handled once. These services count their
//! events, and have no rule that would catch a repeat.

use std::time::Duration;

use axum::http::Method;
use pushbox::{
    Command, Context, Document, Effect, Event, Failure, Ports, Problem, Reply, Service, System, reject,
    store::Fields,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use simulation::{Input, NoAnswer, Outside, Repeats, Scenario, World};

/// The number of deposits, all into one account.
const DEPOSITS: usize = 4;

/// The sum of the two accounts that the transfers change.
const SUM: i64 = 1_000;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Deposited {
    account: String,
    amount: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Booked {
    balance: i64,
}

/// From the account `left` to the account `right`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Transferred {
    amount: i64,
}

impl Event for Deposited {
    const TYPE: &'static str = "deposited";
    const TOPIC: &'static str = "bank-events";
}

impl Event for Booked {
    const TYPE: &'static str = "booked";
    const TOPIC: &'static str = "bank-events";
}

impl Event for Transferred {
    const TYPE: &'static str = "transferred";
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

/// Reads, changes and writes the account. The balance is right only if each deposit is booked once,
/// and no concurrent one is overwritten.
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

async fn both(cx: &Context) -> Result<(Account, Account), Failure> {
    let account = async |name: &str, balance| {
        let empty = Account { account: name.to_owned(), balance };
        Ok::<_, Failure>(cx.get::<Account>(name).await?.unwrap_or(empty))
    };
    Ok((account("left", SUM).await?, account("right", 0).await?))
}

async fn transfer(command: Command<Transferred>) -> Result<Reply, Problem> {
    let transferred = command.body.clone();
    command
        .run(transferred, |transferred, cx| async move {
            let (mut left, mut right) = both(&cx).await?;
            left.balance -= transferred.amount;
            right.balance += transferred.amount;
            cx.put(&left);
            cx.put(&right);
            cx.publish(&transferred);
            Ok(Reply::ok(&cx.new_id()))
        })
        .await
}

/// Rejects a state that never existed.
async fn observe(_: Transferred, cx: Context) -> Result<(), Failure> {
    let (left, right) = both(&cx).await?;
    if left.balance + right.balance != SUM {
        return Err(reject(format_args!("torn reads: {} and {}", left.balance, right.balance)));
    }
    cx.add(&Tally { count: 1 }, &["count"]);
    Ok(())
}

/// The same for a command: it answers 409 to a state that never existed.
async fn confirm(command: Command<Transferred>) -> Result<Reply, Problem> {
    command
        .run((), |(), cx| async move {
            let (left, right) = both(&cx).await?;
            if left.balance + right.balance != SUM {
                return Err(Problem::new(axum::http::StatusCode::CONFLICT, "The reads are torn."));
            }
            Ok(Reply::ok(&left.balance))
        })
        .await
}

/// Whether the outside carried out the call. An unknown result is also an outcome, because a second
/// call might repeat the effect.
#[derive(Clone, Serialize, Deserialize)]
enum Told {
    Yes,
    Perhaps,
}

struct Tell {
    outside: Outside,
}

impl Effect for Tell {
    type Event = Deposited;
    type Call = Deposited;
    type Outcome = Told;

    async fn claim(&self, deposited: Deposited, _: Context) -> Result<Option<Deposited>, Failure> {
        Ok(Some(deposited))
    }

    async fn perform(&self, deposited: Deposited, key: String) -> Result<Told, Failure> {
        let payload = Fields::from_iter([("amount".to_owned(), deposited.amount.into())]);
        match self.outside.call(Repeats::Harmful, &key, payload).await {
            Ok(()) => Ok(Told::Yes),
            Err(NoAnswer::Unknown) => Ok(Told::Perhaps),
            Err(NoAnswer::NotReached) => Err(Failure::Retry("the outside is not reachable".to_owned())),
        }
    }

    async fn complete(&self, _: Deposited, _: Told, cx: Context) -> Result<(), Failure> {
        cx.add(&Tally { count: 1 }, &["count"]);
        Ok(())
    }

    async fn abandon(&self, _: Deposited, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

struct Bank;

impl Scenario for Bank {
    const PERSONAL: &'static [&'static str] = &[];

    fn systems(_: &Ports, outside: &Outside) -> Vec<System> {
        let services = vec![
            Service::new("teller", "takes deposits").publishes::<Deposited>().post("/deposits", deposit),
            Service::new("ledger", "books deposits").publishes::<Booked>().on(book),
            Service::new("auditor", "counts bookings").on(audit),
            Service::new("messenger", "tells the outside of deposits")
                .effect(Tell { outside: outside.clone() }),
            Service::new("exchange", "moves money, and checks that none is lost")
                .publishes::<Transferred>()
                .on(observe)
                .post("/transfers", transfer)
                .post("/confirmations", confirm),
        ];
        vec![System { name: "bank", services }]
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let insist = async |path: &str, service: &str, number: usize, amount: i64| {
            world.pause_up_to(Duration::from_secs(10)).await;
            let body = json!({ "account": "only", "amount": amount });
            world.insist(service, path, &format!("{path}-{number}"), &body).await
        };
        let deposits = (0..DEPOSITS).map(|number| insist("/deposits", "teller", number, 1 << number));
        let transfers = (0..DEPOSITS).map(|number| insist("/transfers", "exchange", number, 1 << number));
        let confirmations = (0..DEPOSITS).map(|number| insist("/confirmations", "exchange", number, 0));
        let (deposits, transfers, confirmations) = futures::join!(
            futures::future::join_all(deposits),
            futures::future::join_all(transfers),
            futures::future::join_all(confirmations),
        );
        if let Some(refused) = deposits.iter().chain(&transfers).find(|answer| !answer.status.is_success()) {
            return Err(format!("no command is refused: {refused:?}"));
        }
        if let Some(refused) = confirmations.iter().find(|answer| !answer.status.is_success()) {
            return Err(format!("a 4xx depends only on consistent reads: {refused:?}"));
        }
        world.settle().await?;
        if let Some((reason, _)) =
            world.dead_letters().into_iter().find(|(reason, _)| reason.contains("torn"))
        {
            return Err(format!("a rejection depends only on consistent reads: {reason}"));
        }
        expect("dead letters", world.dead_letters().len() as i64, 0)?;

        // Each deposit is a different power of two, so the sum shows which deposits are in it.
        let balances = world.documents("ledger/accounts").await;
        let balances: i64 = balances.iter().filter_map(|account| account["balance"].as_i64()).sum();
        expect("balances", balances, (1 << DEPOSITS) - 1)?;
        for service in ["auditor", "messenger", "exchange"] {
            let tally = world.documents(&format!("{service}/tallies")).await;
            expect(service, tally[0]["count"].as_i64().unwrap_or(0), DEPOSITS as i64)?;
        }
        let right = world.documents("exchange/accounts").await[1]["balance"].as_i64().unwrap_or(0);
        expect("transferred", right, (1 << DEPOSITS) - 1)
    }
}

fn expect(what: &str, found: i64, expected: i64) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, expected {expected}")) }
}

#[test]
fn the_runtime_handles_every_event_once() {
    let counts = simulation::check(&Bank);
    // A small number of worlds does not contain all faults.
    assert!(counts.worlds < 2_000 || counts.missing().is_empty(), "never happened: {:?}", counts.missing());
}

#[test]
fn every_small_world_handles_every_event_once() {
    let command = |service, path| Input::Command {
        service,
        method: Method::POST,
        path,
        body: json!({ "account": "only", "amount": 5 }),
    };
    simulation::explore::<Bank>(&[vec![
        command("teller", "/deposits"),
        command("exchange", "/transfers"),
        command("exchange", "/confirmations"),
    ]]);
}
