//! crm-service without the runtime: a bare axum handler that makes the same single commit and does nothing
//! else. `scripts/bench` compares the two.

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use firestore::{
    FirestoreDb, FirestoreDbOptions, FirestoreTransaction, FirestoreTransactionData,
    FirestoreWritePrecondition,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::OnceCell};

#[derive(Deserialize)]
struct Envelope {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    data: String,
    #[serde(rename = "messageId")]
    id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contact {
    user_id: String,
    email: String,
    name: String,
    #[serde(default)]
    since: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    key: String,
    message_id: String,
    events: Vec<String>,
    created_at: Timestamp,
    #[serde(with = "firestore::serialize_as_timestamp")]
    expire_at: Timestamp,
}

type Db = &'static OnceCell<FirestoreDb>;

async fn push(State(db): State<Db>, Json(envelope): Json<Envelope>) -> Result<StatusCode, StatusCode> {
    let data = STANDARD.decode(envelope.message.data).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut contact: Contact = serde_json::from_slice(&data).map_err(|_| StatusCode::BAD_REQUEST)?;
    contact.since = Timestamp::now();
    commit(db, envelope.message.id, contact).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn commit(db: Db, id: String, contact: Contact) -> Result<(), firestore::errors::FirestoreError> {
    let project = std::env::var("GOOGLE_CLOUD_PROJECT").unwrap_or_default();
    let connect = || FirestoreDb::with_options(FirestoreDbOptions::new(project));
    let db = db.get_or_try_init(connect).await?;
    let no_transaction =
        FirestoreTransactionData::new(vec![], db.get_documents_path().clone(), tracing::Span::none(), vec![]);
    let now = Timestamp::now();
    let receipt = Receipt {
        key: format!("//bench {id}"),
        message_id: id.clone(),
        events: Vec::new(),
        created_at: now,
        expire_at: now + SignedDuration::from_hours(45 * 24),
    };
    let mut batch = FirestoreTransaction::from_data(db, no_transaction);
    db.fluent()
        .update()
        .in_col("receipts")
        .precondition(FirestoreWritePrecondition::Exists(false))
        .document_id(&id)
        .object(&receipt)
        .add_to_transaction(&mut batch)?;
    db.fluent()
        .update()
        .in_col("contacts")
        .precondition(FirestoreWritePrecondition::Exists(false))
        .document_id(&contact.user_id)
        .object(&contact)
        .add_to_transaction(&mut batch)?;
    batch.commit().await?;
    Ok(())
}

#[tokio::main]
async fn main() {
    static DB: OnceCell<FirestoreDb> = OnceCell::const_new();
    let port = std::env::var("PORT").expect("PORT is set");
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await.expect("a free port");
    let app = Router::new().route("/", post(push)).with_state(&DB);
    axum::serve(listener, app).await.expect("a server");
}
