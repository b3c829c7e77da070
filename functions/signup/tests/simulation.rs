//! Users sign up in worlds full of faults. Each user still gets exactly one mail, one charge, one
//! contact and one tracked signup.

use std::{collections::BTreeSet, time::Duration};

use axum::http::Method;
use effects::{
    mail::Mailer,
    payments::{Gateway, Money},
};
use pushbox::{Ports, System, Timing};
use serde_json::{Value, json};
use simulation::{Input, Outside, Repeats, Scenario, World};

struct Signups;

/// People who sign up. The first two share an address, so one of them is refused.
const PEOPLE: [(&str, &str); 4] = [
    ("ann@example.com", "Ann Archer"),
    ("ANN@example.com", "Anne Archer"),
    ("bob@example.com", "Bob Baker"),
    ("cy@example.com", "Cy Cooper"),
];

impl Scenario for Signups {
    const PERSONAL: &'static [&'static str] =
        &["@example.com", "Ann Archer", "Anne Archer", "Bob Baker", "Cy Cooper", "Di Dyer", "Eve Eliot"];

    fn systems(ports: &Ports, outside: &Outside) -> Vec<System> {
        vec![signup::system(signup::Config {
            mailer: Mailer::local(outside.store(Repeats::Harmful), ports.clock.clone()),
            gateway: Gateway::local(outside.store(Repeats::Harmless), ports.clock.clone()),
            price: Money { minor: 1000, currency: "usd".parse().expect("a currency") },
            payment_method: "pm_card_visa".to_owned(),
        })]
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let sign_up = async |number: usize| {
            let (email, name) = PEOPLE[number];
            world.pause_up_to(Duration::from_secs(10)).await;
            let key = format!("sign-up-{number}");
            world.insist("user-service", "/users", &key, &json!({ "email": email, "name": name })).await
        };
        let (a, b, c, d) = futures::join!(sign_up(0), sign_up(1), sign_up(2), sign_up(3));
        // A person publishes an event by hand, twice. It is still one user.
        for _ in 0..2 {
            let event = json!({ "event": "user.created", "userId": "by-hand", "email": "d@example.com", "name": "Di Dyer" });
            world.publish_by_hand("user-events", &event);
        }
        world.settle().await?;

        let mut statuses: Vec<u16> = [&a, &b, &c, &d].map(|answer| answer.status.as_u16()).into();
        statuses.sort_unstable();
        expect("answers", &statuses, &vec![201, 201, 201, 409])?;
        let ids =
            [a, b, c, d].into_iter().filter_map(|answer| Some(answer.body["userId"].as_str()?.to_owned()));
        let users: BTreeSet<String> = ids.chain(["by-hand".to_owned()]).collect();

        let contacts = world.get("crm-service", "/contacts").await.body;
        expect("contacts", &user_ids(&contacts["items"]), &users)?;
        let signups = world.get("analytics-service", "/signups").await.body;
        expect("signups", &signups["total"], &json!(users.len()))?;
        let days = signups["days"]["items"].as_array().into_iter().flatten();
        let by_day: i64 = days.filter_map(|day| day["signups"].as_i64()).sum();
        expect("signups by day", &by_day, &(users.len() as i64))?;
        let emails = world.get("email-service", "/emails").await.body;
        expect("emails", &user_ids(&emails["items"]), &users)?;
        for user in &users {
            let charge = world.get("billing-service", &format!("/charges/{user}")).await.body;
            expect("charge", &charge["status"], &json!("paid"))?;
        }
        expect("mails in the mailbox", &world.outside("local-mailbox/mails").await.len(), &users.len())?;
        expect(
            "charges at the gateway",
            &world.outside("local-payment-gateway/charges").await.len(),
            &users.len(),
        )?;
        // Data that is not an object can never be a user.
        world.publish("user-events", &[("ce-type", "user.created")], &json!("eve@example.com"));
        world.settle().await?;
        let letters: BTreeSet<String> = world.dead_letters().into_iter().map(|(_, data)| data).collect();
        expect("dead letters", &letters, &BTreeSet::from(["\"eve@example.com\"".to_owned()]))?;
        sign_up_after_the_receipts_expired(&world, &users).await
    }
}

/// An idempotency key that is used again after its receipt has expired starts another sign-up. It
/// creates another user, who also gets a welcome mail.
async fn sign_up_after_the_receipts_expired(world: &World, users: &BTreeSet<String>) -> Result<(), String> {
    let before = world.documents("user-service/users").await;
    world.advance(Timing::DEFAULT.receipt_retention + Duration::from_secs(60)).await;
    let late = json!({ "email": "eve@example.com", "name": "Eve Eliot" });
    let answer = world.insist("user-service", "/users", "sign-up-2", &late).await;
    expect("the late answer", &answer.status.as_u16(), &201)?;
    let id = answer.body["userId"].as_str().unwrap_or_default();
    expect(
        "a key that is used again after its receipt has expired makes a known id",
        &users.contains(id),
        &false,
    )?;
    world.settle().await?;
    let after = world.documents("user-service/users").await;
    expect("no user is overwritten", &before.iter().all(|user| after.contains(user)), &true)?;
    let mails = world.outside("local-mailbox/mails").await;
    expect("mails to all users", &mails.len(), &(users.len() + 1))
}

fn user_ids(items: &Value) -> BTreeSet<String> {
    let items = items.as_array().into_iter().flatten();
    items.filter_map(|item| Some(item["userId"].as_str()?.to_owned())).collect()
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

#[test]
fn each_user_is_handled_once_despite_faults() {
    let counts = simulation::check(&Signups);
    // A small number of worlds does not contain all faults.
    assert!(
        counts.worlds < simulation::SEEDS || counts.missing().is_empty(),
        "never happened: {:?}",
        counts.missing()
    );
}

#[test]
fn each_user_is_handled_once_in_every_small_world() {
    let by_hand =
        json!({ "event": "user.created", "userId": "by-hand", "email": "d@example.com", "name": "Di Dyer" });
    let sign_up = Input::Command {
        service: "user-service",
        method: Method::POST,
        path: "/users",
        token: None,
        body: json!({ "email": "ann@example.com", "name": "Ann Archer" }),
    };
    simulation::explore::<Signups>(
        &[],
        &[vec![sign_up], vec![Input::Message { topic: "user-events", data: by_hand }]],
    );
}

#[test]
fn a_seed_replays_every_step() {
    let (_, first) = simulation::play(&Signups, 7).expect("seed 7");
    let (_, second) = simulation::play(&Signups, 7).expect("seed 7");
    assert_eq!(first, second);
    assert_ne!(first, simulation::play(&Signups, 8).expect("seed 8").1);
}
