//! A part is down while users sign up. When it is back, all users are handled without manual steps.

use std::process::Command;

use futures::{StreamExt, stream};
use serde_json::Value;

use crate::{
    harness::{Process, eventually, free_port},
    world::{User, World},
};

#[tokio::test]
async fn a_stopped_consumer_catches_up() {
    // One consumer runs in a transaction, the other performs an effect.
    let consumers = ["crm-service", "billing-service"];
    let world = World::plan("stopped").services(&["user-service", consumers[0], consumers[1]]).start().await;
    for service in consumers {
        world.kill(service);
    }
    let users = many_sign_up(&world, 100).await;
    for service in consumers {
        world.start_service(service).await;
    }
    world.each_is_handled_once(&users).await;
}

#[tokio::test]
async fn without_pubsub_users_can_sign_up_and_no_event_is_lost() {
    let port = free_port();
    let pubsub = pubsub_emulator(port).await;
    let host = format!("localhost:{port}");
    let world = World::plan("no-pubsub").pubsub(host).start().await;
    let mut users = vec![world.sign_up("before@example.com", "Before").await];
    world.each_is_handled_once(&users).await;

    drop(pubsub);
    users.extend(many_sign_up(&world, 20).await);

    let _pubsub = pubsub_emulator(port).await;
    // Unlike Pub/Sub, the emulator has lost its topics and subscriptions.
    world.start_all().await;
    eventually("all events are published", async || {
        let answer = world.post("user-service", "/relay").send().await.map_err(|error| error.to_string())?;
        let relayed: Value = answer.json().await.map_err(|error| error.to_string())?;
        let contacts = world.firestore.documents("crm-service/contacts").await.len();
        if contacts == users.len() { Ok(()) } else { Err(format!("{contacts} contacts, {relayed}")) }
    })
    .await;
    world.each_is_handled_once(&users).await;
}

async fn many_sign_up(world: &World, count: usize) -> Vec<User> {
    let sign_up = async |number| world.sign_up(&format!("user-{number}@example.com"), "One of Many").await;
    stream::iter(0..count).map(sign_up).buffer_unordered(10).collect().await
}

/// Starts a Pub/Sub emulator for this test alone, and waits until it is ready.
async fn pubsub_emulator(port: u16) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/emulators");
    let mut command = Command::new(script);
    command.args(["pubsub", "--port", &port.to_string()]);
    let output = format!("{}/pubsub-emulator-{port}", env!("CARGO_TARGET_TMPDIR"));
    let process = Process::spawn(&mut command, output.into());
    eventually("the Pub/Sub emulator is ready", async || {
        let answer = reqwest::get(format!("http://localhost:{port}/")).await;
        answer.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())
    })
    .await;
    process
}
