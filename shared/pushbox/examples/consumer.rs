//! The smallest consumer. It keeps a contact for each user.
//!
//! ```sh
//! cargo run -p pushbox --example consumer
//! curl -i localhost:8080 -d '{"message":{"messageId":"1","attributes":{"ce-type":"user.created"},
//!   "data":"eyJ1c2VySWQiOiJ1LTEiLCJuYW1lIjoiQWRhIn0="}}'
//! curl localhost:8080/contacts
//! ```
//!
//! A second `curl` with the same message answers 204 too, with `pushbox-outcome: duplicate`.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use pushbox::{
    Context, Created, Document, Documents, Event, Failure, Message, Page, PageQuery, Ports, Problem,
    PushAuth, Service,
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
struct Contact {
    id: String,
    name: String,
}

impl Document for Contact {
    const COLLECTION: &'static str = "contacts";
    fn id(&self) -> String {
        self.id.clone()
    }
}

fn service() -> Service {
    Service::new("contact-service", "keeps a contact for each user").on(create).get("/contacts", list)
}

async fn create(user: UserCreated, cx: Context) -> Result<(), Failure> {
    // Another event about the same user changes nothing.
    let (Created::New | Created::Exists) = cx.create(&Contact { id: user.user_id, name: user.name });
    Ok(())
}

async fn list(documents: Documents, page: PageQuery) -> Result<Json<Page<Contact>>, Problem> {
    documents.page(vec![], &page).await.map(Json)
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
