//! The runtime alone must ensure that every event is handled once. These services count their
//! events, and have no rule that would catch a repeat.

#[path = "runtime/careless.rs"]
mod careless;
#[path = "runtime/redrive.rs"]
mod redrive;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
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

/// The events that the archive publishes for each deposit.
const PAGES: u8 = 2;

/// The outside refuses to hear of this deposit.
const REFUSED: i64 = 4;

/// The outside refuses only the first call for this deposit, so a replay succeeds.
const REFUSED_ONCE: i64 = 6;

/// How long a deposit is held at most.
const HOLD: Duration = Duration::from_secs(40);

/// Nobody ends the hold of this deposit before it is due.
const HELD: i64 = 1;

/// The sources and ids of messages that other publishers send. Without a separator, some of them are the same text.
const FOREIGN: [(&str, &str); 3] = [("//one", "1"), ("//two", "1"), ("//on", "e1")];

/// The withdrawals that the vault can pay.
const WITHDRAWALS: i64 = 4;

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

/// A page of the archive.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Filed {
    amount: i64,
    page: u8,
}

/// The end of a hold.
#[derive(Serialize, Deserialize, JsonSchema)]
struct HoldDue {
    amount: i64,
}

/// A message that nobody cancels.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Reminded {
    amount: i64,
    at: String,
}

impl Event for HoldDue {
    const TYPE: &'static str = "hold.due";
    const TOPIC: &'static str = "hold-events";
}

impl Event for Reminded {
    const TYPE: &'static str = "reminded";
    const TOPIC: &'static str = "hold-events";
}

impl Event for Filed {
    const TYPE: &'static str = "filed";
    const TOPIC: &'static str = "archive-events";
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

#[derive(Serialize, Deserialize)]
struct Entry {
    amount: i64,
}

impl Document for Entry {
    const COLLECTION: &'static str = "entries";
    fn id(&self) -> String {
        self.amount.to_string()
    }
}

/// Ends once: by a transfer, or when it is due.
#[derive(Serialize, Deserialize)]
struct Hold {
    amount: i64,
    has_ended: bool,
}

impl Document for Hold {
    const COLLECTION: &'static str = "holds";
    fn id(&self) -> String {
        self.amount.to_string()
    }
}

/// The end of a hold that was cancelled in time.
#[derive(Serialize, Deserialize)]
struct Surprise {
    amount: i64,
}

impl Document for Surprise {
    const COLLECTION: &'static str = "surprises";
    fn id(&self) -> String {
        self.amount.to_string()
    }
}

#[derive(Serialize, Deserialize)]
struct Page {
    id: String,
}

impl Document for Page {
    const COLLECTION: &'static str = "pages";
    fn id(&self) -> String {
        self.id.clone()
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

/// Fails on its own earlier work, in both ways. Makes two ids, and publishes two events.
async fn archive(deposited: Deposited, cx: Context) -> Result<(), Failure> {
    let amount = deposited.amount;
    match cx.get::<Entry>(amount.to_string()).await? {
        Some(_) if amount % 2 == 0 => return Err(Failure::Retry("archived before".to_owned())),
        Some(_) => return Err(reject("archived before")),
        None => {}
    }
    cx.put(&Entry { amount });
    for page in 1..=PAGES {
        cx.put(&Page { id: cx.new_id() });
        cx.publish(&Filed { amount, page });
    }
    Ok(())
}

/// Adds twice to one document.
async fn count_pages(_: Filed, cx: Context) -> Result<(), Failure> {
    cx.add(&Tally { count: 1 }, &["count"]);
    cx.add(&Tally { count: 1 }, &["count"]);
    Ok(())
}

/// Holds a deposit until a transfer of the same amount or its reminder, at most for [`HOLD`]. The transfer may
/// come first.
async fn hold(deposited: Deposited, cx: Context) -> Result<(), Failure> {
    let amount = deposited.amount;
    let remind_at = after(cx.now(), HOLD / 2);
    cx.publish_at(&Reminded { amount, at: remind_at.to_string() }, remind_at);
    if cx.create(&Hold { amount, has_ended: false }).is_new() {
        cx.publish_at_named(&HoldDue { amount }, after(cx.now(), HOLD), &amount.to_string());
    }
    // A timer that is set and cancelled in one commit never fires.
    let never = format!("never {amount}");
    cx.publish_at_named(&HoldDue { amount: -amount }, remind_at, &never);
    cx.cancel::<HoldDue>(&never);
    Ok(())
}

/// Rejects a reminder without a hold. There is none: the hold was committed before the reminder was published.
async fn release(reminded: Reminded, cx: Context) -> Result<(), Failure> {
    let amount = reminded.amount;
    if cx.create(&Hold { amount, has_ended: false }).is_new() {
        return Err(reject("a reminder without a hold"));
    }
    if amount != HELD {
        end(amount, &cx).await?;
        cx.cancel::<HoldDue>(&amount.to_string());
    }
    Ok(())
}

async fn end_hold(transferred: Transferred, cx: Context) -> Result<(), Failure> {
    end(transferred.amount, &cx).await?;
    cx.cancel::<HoldDue>(&transferred.amount.to_string());
    Ok(())
}

async fn end_due_hold(due: HoldDue, cx: Context) -> Result<(), Failure> {
    if due.amount < 0 {
        return Err(reject("a timer that was never set"));
    }
    if due.amount != HELD {
        cx.put(&Surprise { amount: due.amount });
    }
    end(due.amount, &cx).await
}

async fn end(amount: i64, cx: &Context) -> Result<(), Failure> {
    let hold = cx.get::<Hold>(amount.to_string()).await?;
    if hold.is_none_or(|hold| !hold.has_ended) {
        cx.put(&Hold { amount, has_ended: true });
        cx.add(&Tally { count: 1 }, &["count"]);
    }
    Ok(())
}

async fn remember(reminded: Reminded, cx: Context) -> Result<(), Failure> {
    if cx.occurred_at().to_string() != reminded.at {
        return Err(reject("a delayed event happens at another time than it is due"));
    }
    cx.add(&Tally { count: 1 }, &["count"]);
    Ok(())
}

/// Asks for a timer that no queue accepts.
async fn remind_too_late(command: Command<Transferred>) -> Result<Reply, Problem> {
    let remind = async |amount, cx: Context| {
        let time = after(cx.now(), Duration::from_hours(30 * 24));
        cx.publish_at(&Reminded { amount, at: time.to_string() }, time);
        Ok(Reply::accepted(&amount))
    };
    let amount = command.body.amount;
    command.run(amount, remind).await
}

fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

/// Withdraws from the account that the caller names, if both accounts together hold enough.
async fn withdraw(command: Command<Deposited>) -> Result<Reply, Problem> {
    let wanted = command.body.clone();
    command
        .run(wanted, |wanted, cx| async move {
            let (left, right) = both(&cx).await?;
            if left.balance + right.balance < wanted.amount {
                return Err(Problem::new(StatusCode::CONFLICT, "The accounts hold too little."));
            }
            let account = if wanted.account == "left" { left } else { right };
            cx.put(&Account { balance: account.balance - wanted.amount, ..account });
            Ok(Reply::ok(&wanted.amount))
        })
        .await
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
                return Err(Problem::new(StatusCode::CONFLICT, "The reads are torn."));
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

    const SECRETS: &[&str] = &[];

    async fn claim(&self, deposited: Deposited, cx: Context) -> Result<Option<Deposited>, Failure> {
        cx.put(&Entry { amount: deposited.amount });
        Ok(Some(deposited))
    }

    async fn perform(&self, deposited: Deposited, key: String) -> Result<Told, Failure> {
        let payload = Fields::from_iter([("amount".to_owned(), deposited.amount.into())]);
        let answer = self.outside.call(Repeats::Harmful, &key, payload.clone()).await;
        let is_refused = match deposited.amount {
            REFUSED => true,
            REFUSED_ONCE => self.outside.times_called(&payload) == 1,
            _ => false,
        };
        match answer {
            Err(NoAnswer::NotReached) => Err(Failure::Retry("the outside is not reachable".to_owned())),
            Ok(()) | Err(NoAnswer::Unknown) if is_refused => Err(reject("the outside refuses this deposit")),
            Ok(()) => Ok(Told::Yes),
            Err(NoAnswer::Unknown) => Ok(Told::Perhaps),
        }
    }

    async fn complete(&self, _: Deposited, _: Told, cx: Context) -> Result<(), Failure> {
        cx.add(&Tally { count: 1 }, &["count"]);
        Ok(())
    }

    async fn abandon(&self, deposited: Deposited, cx: Context) -> Result<(), Failure> {
        cx.delete::<Entry>(deposited.amount.to_string());
        Ok(())
    }
}

struct Bank;

impl Scenario for Bank {
    const PERSONAL: &'static [&'static str] = &[];

    fn systems(_: &Ports, outside: &Outside) -> Vec<System> {
        let services = vec![
            Service::new("teller", "takes deposits")
                .publishes::<Deposited>()
                .delays::<Reminded>()
                .post("/deposits", deposit)
                .post("/reminders", remind_too_late),
            Service::new("ledger", "books deposits").publishes::<Booked>().on(book),
            Service::new("auditor", "counts bookings").on(audit),
            Service::new("messenger", "tells the outside of deposits")
                .effect(Tell { outside: outside.clone() }),
            Service::new("archive", "keeps two pages for each deposit").publishes::<Filed>().on(archive),
            Service::new("clerk", "counts pages twice").on(count_pages),
            Service::new("holder", "holds each deposit for a while")
                .delays::<HoldDue>()
                .delays::<Reminded>()
                .on(hold)
                .on(release)
                .on(end_hold)
                .on(end_due_hold),
            Service::new("diary", "counts reminders").on(remember),
            Service::new("vault", "lets nobody overdraw").post("/withdrawals", withdraw),
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
            // A key belongs to its route.
            world.insist(service, path, &number.to_string(), &body).await
        };
        let deposits = (0..DEPOSITS).map(|number| insist("/deposits", "teller", number, 1 << number));
        let transfers = (0..DEPOSITS).map(|number| insist("/transfers", "exchange", number, 1 << number));
        let confirmations = (0..DEPOSITS).map(|number| insist("/confirmations", "exchange", number, 0));
        // Together they want twice what there is.
        let withdrawals = (0..2 * WITHDRAWALS).map(async |number| {
            let account = if number % 2 == 0 { "left" } else { "right" };
            let body = json!({ "account": account, "amount": SUM / WITHDRAWALS });
            world.insist("vault", "/withdrawals", &number.to_string(), &body).await
        });
        let (deposits, transfers, confirmations, withdrawals) = futures::join!(
            futures::future::join_all(deposits),
            futures::future::join_all(transfers),
            futures::future::join_all(confirmations),
            futures::future::join_all(withdrawals),
        );
        let withdrawn = withdrawals.iter().filter(|answer| answer.status.is_success()).count() as i64;
        expect("withdrawals", withdrawn, WITHDRAWALS)?;
        if let Some(refused) = deposits.iter().chain(&transfers).find(|answer| !answer.status.is_success()) {
            return Err(format!("no command is refused: {refused:?}"));
        }
        if let Some(refused) = confirmations.iter().find(|answer| !answer.status.is_success()) {
            return Err(format!("a 4xx depends only on consistent reads: {refused:?}"));
        }
        for (source, id) in FOREIGN {
            let attributes = [("ce-type", "booked"), ("ce-id", id), ("ce-source", source)];
            world.publish("bank-events", &attributes, &json!({ "balance": 0 }));
        }
        world.settle().await?;
        let other = json!({ "account": "other", "amount": 1 });
        for (what, path, key, body, expected) in [
            ("another request with a used key", "/deposits", Some("0"), other, 422),
            ("a timer beyond the horizon", "/reminders", None, json!({ "amount": 0 }), 503),
        ] {
            let answer = world.request("teller", Method::POST, path, key, &body).await;
            let status = answer.map_or(0, |answer| answer.status.as_u16());
            expect(&format!("the status of {what}"), status.into(), expected)?;
        }
        if let Some((reason, _)) =
            world.dead_letters().into_iter().find(|(reason, _)| reason.contains("torn"))
        {
            return Err(format!("a rejection depends only on consistent reads: {reason}"));
        }
        let refused = world.dead_letters();
        if refused.is_empty() || refused.iter().any(|(reason, _)| !reason.contains("refuses this deposit")) {
            return Err(format!("only the refused deposit is a dead letter: {refused:?}"));
        }

        // Each deposit is a different power of two, so the sum shows which deposits are in it.
        let balances = world.documents("ledger/accounts").await;
        let balances: i64 = balances.iter().filter_map(|account| account["balance"].as_i64()).sum();
        expect("balances", balances, (1 << DEPOSITS) - 1)?;
        let (deposits, pages) = (DEPOSITS as i64, i64::from(PAGES));
        for (service, expected) in [
            ("auditor", deposits + FOREIGN.len() as i64),
            ("messenger", deposits - 1),
            ("exchange", deposits),
            ("clerk", 2 * pages * deposits),
            ("holder", deposits),
            ("diary", deposits),
        ] {
            let tally = world.documents(&format!("{service}/tallies")).await;
            expect(service, tally[0]["count"].as_i64().unwrap_or(0), expected)?;
        }
        if world.is_without_faults() {
            expect("surprises", world.documents("holder/surprises").await.len() as i64, 0)?;
        }
        expect("pages", world.documents("archive/pages").await.len() as i64, pages * deposits)?;
        // The refused deposit has no entry and is not done. Its claim may be kept for a replay.
        let receipts = world.documents("messenger/receipts").await;
        let in_state = |state: &str| receipts.iter().filter(|receipt| receipt["state"] == state).count();
        expect("receipts of the messenger", in_state("done") as i64, deposits - 1)?;
        let entries = world.documents("messenger/entries").await.len();
        expect("entries of the messenger", entries as i64, deposits - 1 + in_state("claimed") as i64)?;
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
    assert!(
        counts.worlds < simulation::SEEDS || counts.missing().is_empty(),
        "never happened: {:?}",
        counts.missing()
    );
}

#[test]
fn every_small_world_handles_every_event_once() {
    let command = |service, path, amount: i64| Input::Command {
        service,
        method: Method::POST,
        path,
        token: None,
        body: json!({ "account": "only", "amount": amount }),
    };
    let refused = command("teller", "/deposits", REFUSED);
    let refused_once = command("teller", "/deposits", REFUSED_ONCE);
    let held = command("teller", "/deposits", HELD);
    let command = |service, path| command(service, path, 5);
    simulation::explore::<Bank>(
        &["auditor booked", "messenger deposited"],
        &[
            vec![
                command("teller", "/deposits"),
                command("exchange", "/transfers"),
                command("exchange", "/confirmations"),
            ],
            vec![refused],
            vec![refused_once],
            vec![held],
        ],
    );
}
