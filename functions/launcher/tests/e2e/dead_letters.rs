//! `functions dead-letters` on the emulators: Pub/Sub by REST, the receipts in Firestore.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    emulators::Message,
    harness::{FUNCTIONS, eventually, expect},
    world::World,
};

#[tokio::test]
async fn a_replay_reaches_the_service_that_failed_and_knows_its_verdict() {
    let world =
        World::plan("redrive").services(&["user-service", "crm-service", "analytics-service"]).start().await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(FUNCTIONS);
        command.arg("dead-letters").args(arguments).arg("--json").env_clear().envs([
            ("GOOGLE_CLOUD_PROJECT", world.pubsub.project.as_str()),
            ("PUBSUB_EMULATOR_HOST", &world.pubsub.host),
            ("FIRESTORE_EMULATOR_HOST", &world.firestore.host),
        ]);
        let output = command.output().expect("it runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let json: Value = serde_json::from_str(&printed).unwrap_or_default();
        (output.status.code(), json, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // As if crm-service had rejected it in an earlier release.
    let user = json!({ "userId": "ann-1", "email": "ann@example.com", "name": "Ann" });
    let mut letter = Message::new(user.to_string());
    let attributes = [("ce-id", "1"), ("ce-source", "//pushbox/user-service"), ("ce-type", "user.created")];
    letter.attributes.extend(attributes.map(|(name, value)| (name.to_owned(), value.to_owned())));
    world.pubsub.publish_to("crm-service-dead-letter", &letter).await;
    let (code, report, errors) = run(&["replay", "--service", "crm-service", "--yes"]);
    assert_eq!((code, &report["handled"]), (Some(0), &1.into()), "{report} {errors}");
    let contact = world.get_json("crm-service", "/contacts/ann-1").await.expect("a contact");
    assert_eq!(contact["email"], "ann@example.com");
    world.delivered("analytics-service", "ignored", 1).await;
    // The other services of the catalog have no holders here.
    let groups = || run(&["groups", "--service", "crm-service"]);
    assert_eq!(groups().1, json!([]), "the letter is gone");

    world.pubsub.publish(&Message::new("poison")).await;
    eventually("crm-service rejects it", async || {
        let (_, found, errors) = groups();
        expect("groups", &found.as_array().map(Vec::len), &Some(1))
            .map_err(|error| format!("{error}: {errors}"))
    })
    .await;
    let (code, report, errors) = run(&["replay", "--service", "crm-service", "--yes"]);
    assert_eq!((code, report["cameBack"].as_array().map(Vec::len)), (Some(3), Some(1)), "{report} {errors}");
}
