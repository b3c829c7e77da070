//! The local stack over real HTTP, with services that are as small as can be.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use events::UserCreated;
use local::{Broker, DeliveryPolicy, Mail, Stack};
use pushbox::{Catalog, Context, Document, Failure, Ports, PushAuth, Service, System, reject, store::Memory};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the service under test has handled.
#[derive(Serialize, Deserialize)]
struct Contact {
    user_id: String,
}

impl Document for Contact {
    const COLLECTION: &'static str = "contacts";
    fn id(&self) -> String {
        self.user_id.clone()
    }
}

fn crm_service() -> Service {
    Service::new("crm-service", "keeps contacts").on(add_contact).routes(
        Router::new()
            .route("/contacts", get(list_contacts))
            .route("/echo", get(|uri: axum::http::Uri| async move { uri.to_string() })),
    )
}

async fn add_contact(user: UserCreated, cx: Context) -> Result<(), Failure> {
    if serde_json::to_value(&user.name)? == "Nobody" {
        return Err(reject("nobody is <b>no</b> name"));
    }
    let user_id = serde_json::to_value(&user.user_id)?.as_str().unwrap_or_default().to_owned();
    cx.create(&Contact { user_id }).map_err(|_| reject("handled twice"))
}

async fn list_contacts(
    documents: pushbox::Documents,
    page: pushbox::PageQuery,
) -> Result<axum::Json<pushbox::Page<Contact>>, pushbox::Problem> {
    Ok(axum::Json(documents.page(Vec::new(), &page).await?))
}

/// A running stack and a person at its door.
struct Local {
    url: String,
    client: Client,
}

impl Local {
    async fn start() -> Self {
        let service = crm_service();
        let catalog = Catalog::of(&[System { name: "signup", services: vec![crm_service()] }]);
        let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
        let ports = Ports::new(Memory::default(), broker.clone());
        let services = [(service.name(), service.app(ports, PushAuth::None))];
        let mail = Mail {
            sent_at: jiff::Timestamp::UNIX_EPOCH,
            to: "a@b.example".to_owned(),
            subject: "<script>".to_owned(),
            text: "Hello".to_owned(),
        };
        let stack = Stack::on_broker(&catalog, broker, services)
            .with_mailbox(move || std::future::ready(vec![mail.clone()]));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, stack.app()).into_future());
        tokio::spawn(stack.run(address.port()));
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { url: format!("http://{address}"), client }
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let response = self.client.post(format!("{}{path}", self.url)).json(&body).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn state(&self) -> Value {
        serde_json::from_str(&self.get("/_local/state").await.1).unwrap()
    }

    async fn contacts(&self) -> usize {
        let page: Value = serde_json::from_str(&self.get("/crm-service/contacts").await.1).unwrap();
        page["items"].as_array().map_or(0, Vec::len)
    }

    async fn sign_up(&self, user_id: &str, name: &str, attributes: Value) -> String {
        let user =
            json!({ "userId": user_id, "email": "a@b.example", "name": name, "event": "user.created" });
        let data = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, user.to_string());
        let message = json!({ "messages": [{ "data": data, "attributes": attributes }] });
        let (status, answer) = self.post("/v1/projects/any/topics/user-events:publish", message).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["messageIds"][0].as_str().unwrap().to_owned()
    }

    async fn stage(&self, message_id: &str) -> Value {
        let state = self.state().await;
        let events = state["events"].as_array().unwrap();
        let event = events.iter().find(|event| event["messageId"] == message_id).unwrap();
        event["deliveries"]["crm-service-user-events"].clone()
    }
}

async fn until<T, Fut: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> Fut) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come"))
}

#[tokio::test]
async fn a_published_message_is_handled_once() {
    let local = Local::start().await;
    let id = local.sign_up("user-1", "Ada", json!({})).await;
    until("the ack", async || (local.stage(&id).await["stage"] == "acked").then_some(())).await;
    assert_eq!(local.contacts().await, 1);
    assert_eq!(local.stage(&id).await, json!({ "stage": "acked", "attempts": 1, "failure": null }));
}

#[tokio::test]
async fn a_stopped_service_gets_what_it_missed() {
    let local = Local::start().await;
    let (status, answer) = local.post("/_local/services/crm-service/stop", json!({})).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "name": "crm-service", "running": false })));
    let (status, problem) = local.get("/crm-service/contacts").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem.contains("POST /_local/services/crm-service/start"), "{problem}");

    let id = local.sign_up("user-1", "Ada", json!({})).await;
    let failed = async || Some(local.stage(&id).await).filter(|fate| fate["stage"] == "retrying");
    assert_eq!(until("a failed delivery", failed).await["failure"], "answered 503");
    assert_eq!(local.state().await["services"][0]["subscriptions"][0]["waiting"], 1);

    local.post("/_local/services/crm-service/start", json!({})).await;
    until("the contact", async || (local.contacts().await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_rejected_message_is_a_dead_letter_with_its_reason() {
    let local = Local::start().await;
    let id = local.sign_up("user-1", "Nobody", json!({})).await;
    let parked =
        async || Some(local.state().await["deadLetters"][0].clone()).filter(|letter| !letter.is_null());
    let letter = until("the dead letter", parked).await;
    assert_eq!(letter["service"], "crm-service");
    assert_eq!(letter["reason"], "nobody is <b>no</b> name");
    assert_eq!(letter["type"], "user.created");
    let rejected = json!({ "stage": "rejected", "attempts": 1, "failure": letter["reason"] });
    assert_eq!(local.stage(&id).await, rejected);

    let (_, page) = local.get("/").await;
    assert!(page.contains("nobody is &lt;b&gt;no&lt;/b&gt; name"), "{page}");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");

    let holder = "/v1/projects/local/subscriptions/crm-service-dead-letter";
    let (_, pulled) = local.post(&format!("{holder}:pull"), json!({ "maxMessages": 10 })).await;
    let received = &pulled["receivedMessages"][0];
    assert_eq!(received["message"]["attributes"]["dead-letter-service"], "crm-service");
    local.post(&format!("{holder}:acknowledge"), json!({ "ackIds": [received["ackId"]] })).await;
    assert_eq!(local.state().await["deadLetterCount"], 0);
}

#[tokio::test]
async fn a_filter_keeps_other_events_away() {
    let local = Local::start().await;
    let other = local.sign_up("user-1", "Ada", json!({ "ce-type": "user.deleted" })).await;
    let wanted = local.sign_up("user-2", "Bea", json!({ "ce-type": "user.created" })).await;
    until("the ack", async || (local.stage(&wanted).await["stage"] == "acked").then_some(())).await;
    assert_eq!(local.stage(&other).await, Value::Null);
    assert_eq!(local.contacts().await, 1);
}

#[tokio::test]
async fn every_service_has_a_folder_of_its_own() {
    let local = Local::start().await;
    for (path, status, text) in [
        ("/crm-service", StatusCode::METHOD_NOT_ALLOWED, "This path does not take this method."),
        ("/crm-service/", StatusCode::METHOD_NOT_ALLOWED, "This path does not take this method."),
        ("/crm-service?a=b", StatusCode::METHOD_NOT_ALLOWED, "This path does not take this method."),
        ("/crm-service/healthz", StatusCode::OK, "ok"),
        ("/crm-service/echo?a=%20b&c", StatusCode::OK, "/echo?a=%20b&c"),
        ("/crm-service/nothing", StatusCode::NOT_FOUND, "There is nothing at this path."),
        ("/crm-services", StatusCode::NOT_FOUND, "There is nothing at this path."),
        ("//crm-service/healthz", StatusCode::NOT_FOUND, "There is nothing at this path."),
        ("/_local/services", StatusCode::NOT_FOUND, "There is nothing at this path."),
    ] {
        let (answered, body) = local.get(path).await;
        assert_eq!(answered, status, "{path}: {body}");
        assert!(body.contains(text), "{path}: {body}");
    }
}

#[tokio::test]
async fn errors_have_the_form_that_their_callers_know() {
    let local = Local::start().await;
    let (status, problem) = local.post("/_local/services/no-service/stop", json!({})).await;
    assert_eq!(
        (status, &problem["detail"]),
        (StatusCode::NOT_FOUND, &json!("There is no such service: no-service."))
    );

    let publish = |messages: Value| json!({ "messages": messages });
    let topic = "/v1/projects/p/topics/user-events";
    for (path, body, status, name) in [
        (format!("{topic}:publish"), publish(json!([{}])), 400, "INVALID_ARGUMENT"),
        (format!("{topic}:publish"), publish(json!([{ "data": "aGk" }, {}])), 400, "INVALID_ARGUMENT"),
        (format!("{topic}:publish"), publish(json!([])), 400, "INVALID_ARGUMENT"),
        (format!("{topic}:publish"), publish(json!([{ "data": "?" }])), 400, "INVALID_ARGUMENT"),
        (format!("{topic}:publish"), json!("no"), 400, "INVALID_ARGUMENT"),
        (format!("{topic}s:publish"), publish(json!([{ "data": "aGk" }])), 404, "NOT_FOUND"),
        (format!("{topic}:pull"), json!({}), 404, "NOT_FOUND"),
        (topic.to_owned(), json!({}), 404, "NOT_FOUND"),
        ("/v1/elsewhere".to_owned(), json!({}), 404, "NOT_FOUND"),
        (
            "/v1/projects/p/subscriptions/crm-service-user-events:pull".to_owned(),
            json!({ "maxMessages": 1 }),
            404,
            "NOT_FOUND",
        ),
    ] {
        let (answered, error) = local.post(&path, body.clone()).await;
        assert_eq!(answered.as_u16(), status, "{path} {body}: {error}");
        assert_eq!(error["error"]["status"], name, "{path} {body}: {error}");
        assert_eq!(error["error"]["code"], status);
    }
    assert_eq!(local.state().await["events"], json!([]), "nothing was published");
}

#[tokio::test]
async fn ten_megabytes_come_through() {
    let local = Local::start().await;
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "x".repeat(10_000_000));
    let message = json!({ "messages": [{ "data": data }] });
    let (status, answer) = local.post("/v1/projects/any/topics/user-events:publish", message).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let parked = async || (local.state().await["deadLetterCount"] == 1).then_some(());
    until("the dead letter", parked).await;
}

#[tokio::test]
async fn a_form_on_the_page_leads_back_to_it() {
    let local = Local::start().await;
    let form = local.client.post(format!("{}/_local/services/crm-service/stop", local.url));
    let response = form.header("accept", "text/html,*/*").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(local.get("/").await.1.contains("/_local/services/crm-service/start"));
}

#[tokio::test(start_paused = true)]
async fn a_running_service_relays_each_minute() {
    let service =
        || Service::new("user-service", "signs up").routes(Router::new()).publishes::<UserCreated>();
    let catalog = Catalog::of(&[System { name: "signup", services: vec![service(), crm_service()] }]);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let relay = async move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let counting = Router::new().route("/relay", post(relay));
    let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
    // The other one has nothing to relay.
    let services = [("user-service", counting.clone()), ("crm-service", counting)];
    let stack = Stack::on_broker(&catalog, broker, services);
    let running = tokio::time::timeout(Duration::from_secs(130), stack.run(1));
    assert!(running.await.is_err(), "it runs until it is dropped");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}
