//! The smallest producer. A command creates a user and publishes an event, in one commit.
//!
//! ```sh
//! cargo run -p pushbox --example producer
//! curl -i localhost:8080/users -H 'Idempotency-Key: 1' -d '{"name":"Ada"}'
//! ```
//!
//! A second `curl` with the same key gets the same answer, and no second user is created.

use std::sync::Arc;

use async_trait::async_trait;
use pushbox::{
    Command, Context, Document, Event, Message, Ports, Problem, PushAuth, Reply, Service,
    publisher::{PublishError, Publisher},
    serve,
    store::Memory,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct UserCreated {
    user_id: String,
    name: String,
}

impl Event for UserCreated {
    const TYPE: &'static str = "user.created";
    const TOPIC: &'static str = "user-events";
}

#[derive(Serialize, Deserialize)]
struct User {
    id: String,
    name: String,
}

impl Document for User {
    const COLLECTION: &'static str = "users";
    fn id(&self) -> String {
        self.id.clone()
    }
}

#[derive(Clone, Deserialize)]
struct NewUser {
    name: String,
}

/// The service: its events and its routes.
pub fn service() -> Service {
    Service::new("user-service", "creates users").publishes::<UserCreated>().post("/users", create)
}

async fn create(command: Command<NewUser>) -> Result<Reply, Problem> {
    let user = command.body.clone();
    command
        .run(user, |NewUser { name }, cx: Context| async move {
            let user = User { id: cx.new_id(), name };
            cx.create(&user).require_new()?;
            cx.publish(&UserCreated { user_id: user.id.clone(), name: user.name.clone() });
            Ok(Reply::created(&user).at(format!("users/{}", user.id)))
        })
        .await
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let ports = Ports::new(Arc::new(Memory::default()), Arc::new(Stdout));
    let background = ports.background.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    serve(listener, service().app(ports, PushAuth::None), background).await
}

/// Prints messages. In the cloud this is `pushbox::publisher::PubSub`.
struct Stdout;

#[async_trait]
impl Publisher for Stdout {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        println!("to {}: {}", message.topic, String::from_utf8_lossy(&message.data));
        Ok("1".to_owned())
    }
}
