//! Kills processes at the worst moments. The next process finishes the work.
//!
//! With `FAULT_POINT`, a process of a debug build logs that it has reached that point, and hangs there.

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    harness::eventually,
    world::{User, World},
};

#[tokio::test]
async fn the_work_of_a_killed_process_takes_effect_once() {
    let consumers = [
        ("billing-service", "claimed"),
        ("billing-service", "performed"),
        ("email-service", "claimed"),
        ("email-service", "performed"),
        ("crm-service", "committed"),
        ("analytics-service", "committed"),
    ];
    let consumers = join_all(consumers.map(|(service, point)| consumer_killed_at(service, point)));
    // They run concurrently, because each one waits for the end of a lease.
    tokio::join!(consumers, producer_killed_between_commit_and_relay());
}

async fn consumer_killed_at(service: &'static str, point: &'static str) {
    let world = World::plan("killed").services(&["user-service", service]).start().await;
    world.start_with(service, &[("FAULT_POINT", point)]).await;
    let mut users = vec![world.sign_up("ann@example.com", "Ann").await];
    world.logged(service, &format!("fault point {point} reached")).await;
    world.kill(service);
    let effects = match service {
        "billing-service" => world.firestore.documents("local-payment-gateway/charges").await,
        "email-service" => world.firestore.documents("local-mailbox/mails").await,
        "crm-service" => world.firestore.documents("crm-service/contacts").await,
        _ => world.firestore.documents("analytics-service/signups").await,
    };
    assert_eq!(effects.len(), usize::from(point != "claimed"), "{service} was not killed at {point}");

    users.push(world.sign_up("bob@example.com", "Bob").await);
    world.start_service(service).await;
    world.each_is_handled_once(&users).await;
    // This is a redelivery of Ann's event, and the first delivery of Bob's.
    if point == "committed" {
        world.delivered(service, "duplicate", 1).await;
        world.delivered(service, "handled", 1).await;
    } else {
        world.delivered(service, "handled", 2).await;
    }
}

async fn producer_killed_between_commit_and_relay() {
    let world = World::start("killed").await;
    world.start_with("user-service", &[("FAULT_POINT", "committed")]).await;
    let sign_up = || {
        let body = json!({ "email": "ann@example.com", "name": "Ann" });
        world.post("user-service", "/users").header("Idempotency-Key", "anns-sign-up").json(&body).send()
    };
    let (first, ()) = tokio::join!(sign_up(), async {
        world.logged("user-service", "fault point committed reached").await;
        world.kill("user-service");
    });
    assert!(first.is_err(), "{first:?}");
    world.start_service("user-service").await;

    // Cloud Scheduler makes this call each minute.
    let ann = eventually("the event is published", async || {
        world.post("user-service", "/relay").send().await.map_err(|error| error.to_string())?;
        let contacts = world.get_json("crm-service", "/contacts").await?;
        contacts["items"].get(0).map(User::from).ok_or_else(|| "there is no contact".to_owned())
    });
    let ann = ann.await;
    world.each_is_handled_once(std::slice::from_ref(&ann)).await;

    let repeat = sign_up().await.expect("user-service answers");
    assert_eq!(repeat.status(), StatusCode::CREATED);
    let repeated: Value = repeat.json().await.expect("JSON");
    assert_eq!(repeated["userId"], ann.id);
    world.each_is_handled_once(&[ann]).await;
}
