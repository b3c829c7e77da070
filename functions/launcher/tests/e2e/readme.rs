//! What the README promises.

use crate::{
    emulators::variable,
    harness::{readme, start_local_stack},
    world::World,
};

#[tokio::test]
async fn the_readmes_own_commands_work_with_a_process_for_each_service() {
    let world = World::start("readme").await;
    readme::follow(readme::Reached {
        urls: world.services().map(|service| (service, world.url(service))).collect(),
        pubsub_url: format!("http://{}/", world.pubsub.host),
        project: world.pubsub.project.clone(),
    })
    .await;
}

#[tokio::test]
async fn the_readmes_own_commands_work_on_the_local_stack_with_the_emulators() {
    let (pubsub, firestore) = (variable("PUBSUB_EMULATOR_HOST"), variable("FIRESTORE_EMULATOR_HOST"));
    let project = format!("local-stack-{}", std::process::id());
    let variables = [
        ("PUBSUB_EMULATOR_HOST", pubsub.as_str()),
        ("FIRESTORE_EMULATOR_HOST", &firestore),
        ("GOOGLE_CLOUD_PROJECT", &project),
    ];
    let (url, _stack) = start_local_stack("emulators", &variables).await;
    readme::follow(readme::Reached::local_stack(&url)).await;
    readme::follow_shop(readme::Reached::local_stack(&url)).await;
}
