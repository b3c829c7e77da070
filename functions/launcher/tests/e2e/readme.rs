//! The commands of the README work.

use crate::{
    emulators::variable,
    harness::{readme, start_local_stack},
    world::World,
};

#[tokio::test]
async fn readme_commands_work_with_one_process_for_each_service() {
    let world = World::start("readme").await;
    readme::follow(readme::Endpoints {
        urls: world.services().map(|service| (service, world.url(service))).collect(),
        pubsub_url: format!("http://{}/", world.pubsub.host),
        project: world.pubsub.project.clone(),
    })
    .await;
}

#[tokio::test]
async fn readme_commands_work_on_the_local_stack_with_emulators() {
    let (pubsub, firestore) = (variable("PUBSUB_EMULATOR_HOST"), variable("FIRESTORE_EMULATOR_HOST"));
    let project = format!("local-stack-{}", std::process::id());
    let variables = [
        ("PUBSUB_EMULATOR_HOST", pubsub.as_str()),
        ("FIRESTORE_EMULATOR_HOST", &firestore),
        ("GOOGLE_CLOUD_PROJECT", &project),
    ];
    let (url, _stack) = start_local_stack("emulators", &variables).await;
    readme::follow(readme::Endpoints::local_stack(&url)).await;
    readme::follow_shop(readme::Endpoints::local_stack(&url)).await;
}
