//! try
use events::UserCreated;
use local::{Broker, DeliveryPolicy, Emulator, Stack};
use pushbox::*;
use std::time::Instant;
async fn add(user: UserCreated, _cx: Context) -> Result<(), Failure> {
    if serde_json::to_value(&user.name)? == "Nobody" {
        return Err(reject("nobody"));
    }
    if serde_json::to_value(&user.name)? == "Later" {
        return Err(Failure::Retry("later".into()));
    }
    Ok(())
}
fn services() -> Vec<Service> {
    vec![
        Service::new("crm-service", "keeps contacts").on(add),
        Service::new("analytics-service", "counts signups").on(add),
    ]
}
#[tokio::main]
async fn main() {
    let began = Instant::now();
    telemetry::start("info", None).unwrap();
    let catalog = Catalog::of(&[System { name: "signup", services: services() }]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8099").await.unwrap();
    let stack = if let Ok(host) = std::env::var("PUBSUB_EMULATOR_HOST") {
        let emulator = Emulator::new(&host, "local").unwrap();
        emulator
            .provision(&catalog, |s| format!("http://127.0.0.1:8099/{s}/"))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let ports = Ports::new(store::Memory::default(), publisher::PubSub::new("local", "", Some(&host)));
        Stack::on_emulator(
            &catalog,
            emulator,
            services().into_iter().map(|s| (s.name(), s.app(ports.clone(), PushAuth::None))),
        )
    } else {
        let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
        let ports = Ports::new(store::Memory::default(), broker.clone());
        Stack::on_broker(
            &catalog,
            broker,
            services().into_iter().map(|s| (s.name(), s.app(ports.clone(), PushAuth::None))),
        )
    };
    let app = stack.app();
    tokio::spawn(stack.run(8099));
    println!("ready in {:?}", began.elapsed());
    serve(listener, app, Default::default()).await.unwrap();
    println!("ended");
}
