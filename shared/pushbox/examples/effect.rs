//! The smallest effect. It calls the outside once for each event.
//!
//! ```sh
//! cargo run -p pushbox --example effect
//! curl -i localhost:8080 -d '{"message":{"messageId":"1","attributes":{"ce-type":"user.created"},
//!   "data":"eyJ1c2VySWQiOiJ1LTEiLCJuYW1lIjoiQWRhIn0="}}'
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use pushbox::{
    Context, Document, Effect, Event, Failure, Message, Ports, PushAuth, Service,
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
struct Greeting {
    user_id: String,
    text: String,
    is_sent: bool,
}

impl Document for Greeting {
    const COLLECTION: &'static str = "greetings";
    fn id(&self) -> String {
        self.user_id.clone()
    }
}

fn service() -> Service {
    Service::new("greeting-service", "greets each user once").effect(Greet)
}

struct Greet;

impl Effect for Greet {
    type Event = UserCreated;
    /// The user's id and the text.
    type Call = (String, String);
    type Outcome = ();

    const SECRETS: &[&str] = &[];

    /// Runs in a transaction: decides what to call for.
    async fn claim(&self, user: UserCreated, cx: Context) -> Result<Option<Self::Call>, Failure> {
        let text = format!("Hello, {}!", user.name);
        let greeting = Greeting { user_id: user.user_id.clone(), text: text.clone(), is_sent: false };
        // `None` ends the handling: another event about this user came first.
        Ok(cx.create(&greeting).is_new().then_some((user.user_id, text)))
    }

    /// Makes the call. `key` stays the same if the call is repeated after a crash.
    async fn perform(&self, (_, text): Self::Call, key: String) -> Result<(), Failure> {
        println!("{text} (idempotency key {key})");
        Ok(())
    }

    /// Runs in a transaction: records the outcome.
    async fn complete(&self, (user_id, text): Self::Call, (): (), cx: Context) -> Result<(), Failure> {
        cx.put(&Greeting { user_id, text, is_sent: true });
        Ok(())
    }

    /// Runs in a transaction if `perform` rejects the call: undoes what `claim` staged.
    async fn abandon(&self, (user_id, _): Self::Call, cx: Context) -> Result<(), Failure> {
        cx.delete::<Greeting>(user_id);
        Ok(())
    }
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
