//! Users sign up in worlds in which everything goes wrong that can: there are one mail, one charge,
//! one contact and one tracked signup for each of them all the same.

use std::collections::BTreeSet;

use effects::{
    mail::Mailer,
    payments::{Gateway, Money},
};
use pushbox::{Ports, System};
use serde_json::{Value, json};
use simulation::{Scenario, World};

struct Signups;

/// People who sign up. The first two share an address, so one of them is too late.
const PEOPLE: [(&str, &str); 4] = [
    ("ann@example.com", "Ann"),
    ("ANN@example.com", "Anne"),
    ("bob@example.com", "Bob"),
    ("cy@example.com", "Cy"),
];

impl Scenario for Signups {
    fn systems(ports: &Ports) -> Vec<System> {
        let (store, clock) = (ports.store.clone(), ports.clock.clone());
        vec![signup::system(signup::Config {
            mailer: Mailer::local(store.clone(), clock.clone()),
            gateway: Gateway::local(store, clock),
            price: Money { minor: 1000, currency: "usd".parse().expect("a currency") },
            payment_method: "pm_card_visa".to_owned(),
        })]
    }

    async fn play(&self, world: World) -> Result<(), String> {
        let sign_up = async |number: usize| {
            let (email, name) = PEOPLE[number];
            world.wait(std::time::Duration::from_secs(10)).await;
            let key = format!("sign-up-{number}");
            world.insist("user-service", "/users", &key, &json!({ "email": email, "name": name })).await
        };
        let (a, b, c, d) = futures::join!(sign_up(0), sign_up(1), sign_up(2), sign_up(3));
        // An event that a person publishes by hand, twice, is about one user too.
        for _ in 0..2 {
            let event = json!({ "event": "user.created", "userId": "by-hand", "email": "d@example.com", "name": "Di" });
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
        expect("mails in the mailbox", &world.documents("local-mailbox/mails").await.len(), &users.len())?;
        expect(
            "charges at the gateway",
            &world.documents("local-payment-gateway/charges").await.len(),
            &users.len(),
        )?;
        expect("dead letters", &world.dead_letters(), &Vec::new())
    }
}

fn user_ids(items: &Value) -> BTreeSet<String> {
    let items = items.as_array().into_iter().flatten();
    items.filter_map(|item| Some(item["userId"].as_str()?.to_owned())).collect()
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

#[test]
fn whatever_goes_wrong_each_user_is_handled_once() {
    let counts = simulation::check(&Signups);
    println!("{counts:?}");
    // A world in which nothing goes wrong proves nothing.
    let seen = [counts.crashes, counts.failures, counts.lost_answers, counts.lost_acks, counts.duplicates];
    assert!(seen.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn a_seed_replays_to_the_last_step() {
    let (_, first) = simulation::play(&Signups, 7).expect("seed 7");
    let (_, second) = simulation::play(&Signups, 7).expect("seed 7");
    assert_eq!(first, second);
    assert_ne!(first, simulation::play(&Signups, 8).expect("seed 8").1);
}
