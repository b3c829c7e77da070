//! People sign up and use their sessions in worlds full of faults. Each address has one account, nobody loses a
//! session to a fault, and each session that ends is revoked once.

#[path = "simulation/charges.rs"]
mod charges;
#[path = "simulation/payments.rs"]
mod payments;
mod people;
#[path = "simulation/tickets.rs"]
mod tickets;

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use axum::http::Method;
use events::{AccountCreated, SessionRevoked};
use pushbox::{AccessTokens, Context, Document, Failure, Ports, Service, System, revoke};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use simulation::{Answer, Outside, Scenario, World};
use ticketing::{Auth, Hashing, SigningKey};

struct SignIns;

/// The first two share an address, so one of them is refused.
const PEOPLE: [&str; 3] = ["ann@example.com", "ANN@example.com", "bob@example.com"];

const PASSWORD: &str = "correct horse battery staple";

const REFRESHES: usize = 3;

/// All processes of all worlds share it, as the instances of a service do.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().expect("a key"));

/// Counts the events of each kind about each user or session.
#[derive(Serialize, Deserialize)]
struct Heard {
    id: String,
    count: i64,
}

impl Document for Heard {
    const COLLECTION: &'static str = "heard";
    fn id(&self) -> String {
        self.id.clone()
    }
}

/// A service that listens to auth-service.
fn listener() -> Service {
    fn hear(id: String, cx: &Context) {
        cx.add(&Heard { id, count: 1 }, &["count"]);
    }
    Service::new("listener", "counts what it hears")
        .on(async |event: AccountCreated, cx: Context| {
            hear(format!("account of {}", event.user_id), &cx);
            Ok::<_, Failure>(())
        })
        .on(async |event: SessionRevoked, cx: Context| {
            hear(format!("end of {}", event.session_id), &cx);
            revoke(event.session_id.as_str(), &cx);
            Ok::<_, Failure>(())
        })
}

impl Scenario for SignIns {
    const PERSONAL: &'static [&'static str] = &["@example.com", PASSWORD, "a wrong guess", "__Host-session"];

    fn systems(ports: &Ports, _: &Outside) -> Vec<System> {
        let jwks = SigningKey::public_keys(&[&KEY]);
        let auth = Auth {
            issuer: "https://auth.example".to_owned(),
            signing_key: KEY.clone(),
            access_tokens: AccessTokens::new("https://auth.example", ticketing::NAME, &jwks).expect("keys"),
            origins: None,
            trusted_proxies: 0,
            hashing: Hashing { memory_kib: 8, passes: 1, threads: 2, places: 16 },
            clock: ports.clock.clone(),
            random: ports.random.clone(),
        };
        let mut system = ticketing::system(ticketing::Config {
            auth,
            ticket_lock_minutes: ticketing::TICKET_LOCK_MINUTES,
            ticket_refund_hours: ticketing::TICKET_REFUND_HOURS,
            ..people::config(ports, ticketing::TICKET_LOCK_MINUTES)
        });
        system.services.push(listener());
        vec![system]
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let stories = (0..PEOPLE.len()).map(|person| visit(&world, person));
        let ends = futures::future::join_all(stories).await;
        world.settle().await?;

        let mut statuses: Vec<u16> = Vec::new();
        let mut revoked = 0;
        for end in ends {
            let (status, has_signed_out) = end?;
            statuses.push(status);
            revoked += usize::from(has_signed_out);
        }
        statuses.sort_unstable();
        expect("answers to the sign-ups", &statuses, &vec![201, 201, 409])?;
        expect("accounts", &world.documents("auth-service/accounts").await.len(), &2)?;
        expect("users", &world.documents("auth-service/users").await.len(), &2)?;
        let sessions = world.documents("auth-service/sessions").await;
        let ended = sessions.iter().filter(|session| session["hasEnded"] == json!(true)).count();
        expect("sessions that have ended", &ended, &revoked)?;
        let heard = world.documents("listener/heard").await;
        let by_kind = |kind: &str| {
            heard.iter().filter(|it| it["id"].as_str().unwrap_or_default().starts_with(kind)).count()
        };
        expect("accounts that were announced", &by_kind("account"), &2)?;
        expect("revocations that were announced", &by_kind("end"), &revoked)?;
        let twice: BTreeMap<String, &Value> =
            heard.iter().filter(|it| it["count"] != json!(1)).map(|it| (it["id"].to_string(), it)).collect();
        expect("events that were handled twice", &twice.len(), &0)
    }
}

/// A person signs up, refreshes some times, and perhaps signs out. Each request is repeated until it is answered.
/// Returns the status of the sign-up, and whether the session has ended.
async fn visit(world: &World, person: usize) -> Result<(u16, bool), String> {
    let credentials = json!({ "email": PEOPLE[person], "password": PASSWORD });
    world.pause_up_to(Duration::from_secs(10)).await;
    let key = format!("sign-up-{person}");
    let up = world.insist("auth-service", "/signup", &key, &credentials).await;
    let status = up.status.as_u16();
    let Some(mut cookie) = cookie(&up) else { return Ok((status, false)) };
    let guess = json!({ "email": PEOPLE[person], "password": "a wrong guess" });
    let wrong = world.insist("auth-service", "/signin", &format!("guess-{person}"), &guess).await;
    expect("answer to a wrong password", &wrong.status.as_u16(), &401)?;
    for number in 0..REFRESHES {
        world.pause_up_to(Duration::from_secs(10 * 60)).await;
        let key = format!("refresh-{person}-{number}");
        let answer = post(world, "/refresh", &key, &cookie).await;
        expect("answer to a refresh", &answer.status.as_u16(), &200)?;
        cookie = self::cookie(&answer).ok_or("a refresh gives a new cookie: it did not")?;
    }
    let signs_out = world.pick(2) == 0;
    if signs_out {
        let answer = post(world, "/signout", &format!("sign-out-{person}"), &cookie).await;
        expect("answer to a sign-out", &answer.status.as_u16(), &204)?;
    }
    Ok((status, signs_out))
}

async fn post(world: &World, path: &str, key: &str, cookie: &str) -> Answer {
    let headers = [("idempotency-key", key), ("cookie", cookie)];
    world.insist_with("auth-service", Method::POST, path, &headers, &Value::Null).await
}

/// The cookie that an answer sets.
fn cookie(answer: &Answer) -> Option<String> {
    let line = answer.headers.get("set-cookie")?.to_str().ok()?;
    line.split(';').next().map(str::to_owned)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

/// Hashes are computed on threads of their own, so a seed repeats the faults of a world, but not every step.
#[test]
fn nobody_loses_a_session_to_a_fault() {
    let counts = simulation::check(&SignIns);
    // Sign-ins call nobody outside.
    let missing: Vec<_> =
        counts.missing().into_iter().filter(|(step, _)| *step != simulation::Step::Call).collect();
    assert!(counts.worlds < simulation::SEEDS || missing.is_empty(), "never happened: {missing:?}");
}
