//! Tests of the local stack over real HTTP, with minimal services.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use catalog::Catalog;
use events::UserCreated;
use local::{Attachment, Broker, DeliveryPolicy, Emulator, Mail, Stack};
use pushbox::wire::attribute;
use pushbox::{
    Context, Document, Failure, Ports, PushAuth, Service, System, reject,
    store::{Memory, StoreError},
};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The service under test creates one for each event that it handles.
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
    Service::new("crm-service", "keeps contacts")
        .on(add_contact)
        .get("/contacts", list_contacts)
        .get("/echo", |uri: axum::http::Uri| async move { uri.to_string() })
}

async fn add_contact(user: UserCreated, cx: Context) -> Result<(), Failure> {
    if serde_json::to_value(&user.name)? == "Nobody" {
        return Err(reject("nobody is <b>no</b> name"));
    }
    let user_id = serde_json::to_value(&user.user_id)?.as_str().unwrap_or_default().to_owned();
    if cx.create(&Contact { user_id }).exists() { Err(reject("handled twice")) } else { Ok(()) }
}

async fn list_contacts(
    documents: pushbox::Documents,
    page: pushbox::PageQuery,
) -> Result<axum::Json<pushbox::Page<Contact>>, pushbox::Problem> {
    Ok(axum::Json(documents.page(Vec::new(), &page).await?))
}

/// A running stack, and a client for it.
struct Local {
    url: String,
    client: Client,
}

impl Local {
    async fn start() -> Self {
        let service = crm_service();
        let catalog = Catalog::of(&[System { name: "signup", services: vec![crm_service()] }]);
        let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
        let ports = Ports::new(Arc::new(Memory::default()), Arc::new(broker.clone()));
        let services = [(service.name(), service.app(ports, PushAuth::None))];
        Self::serve(Stack::on_broker(&catalog, broker, services)).await
    }

    /// Starts the stack on a stand-in for Google's emulator, and returns both.
    async fn start_on_emulator() -> (Self, StandIn) {
        let service = crm_service();
        let catalog = Catalog::of(&[System { name: "signup", services: vec![crm_service()] }]);
        let stand_in = StandIn::start().await;
        let emulator = Emulator::new(&stand_in.host, "local").unwrap();
        let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
        let services = [(
            service.name(),
            service.app(Ports::new(Arc::new(Memory::default()), Arc::new(broker)), PushAuth::None),
        )];
        (Self::serve(Stack::on_emulator(&catalog, emulator, services)).await, stand_in)
    }

    async fn serve(stack: Stack) -> Self {
        let invoice = Attachment {
            name: "invoice 1.html".to_owned(),
            content_type: "text/html".to_owned(),
            content: "<script>alert(1)</script>".into(),
        };
        let mail = Mail {
            id: "mail-1".to_owned(),
            sent_at: jiff::Timestamp::UNIX_EPOCH,
            to: "a@b.example".to_owned(),
            subject: "<script>".to_owned(),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
            attachments: vec![invoice],
        };
        let stack = stack
            .with_mailbox(move || std::future::ready(Ok(vec![mail.clone()])))
            .with_routes([("crm-service", crm_service().all_routes())]);
        Self::listen(stack).await
    }

    async fn listen(stack: Stack) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, stack.app()).into_future());
        tokio::spawn(stack.run(address.port()));
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { url: format!("http://{address}"), client }
    }

    /// Pushes as Google's emulator does.
    async fn push(&self, message_id: &str, user: Value, attributes: Value) -> StatusCode {
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, user.to_string());
        let envelope = json!({
            "subscription": "projects/local/subscriptions/crm-service-user-events",
            "message": {
                "data": data, "attributes": attributes,
                "messageId": message_id, "message_id": message_id,
                "publishTime": "2026-01-02T03:04:05Z", "publish_time": "2026-01-02T03:04:05Z",
            },
        });
        let request = self.client.post(format!("{}/crm-service/", self.url)).json(&envelope);
        request.send().await.unwrap().status()
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

/// The part of Google's Pub/Sub emulator that the page uses.
#[derive(Clone)]
struct StandIn {
    host: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let stand_in = Self { host, calls: Arc::default() };
        let app = Router::new().fallback(Self::answer).with_state(stand_in.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        stand_in
    }

    /// Returns its one dead letter, except in a pull that follows a pull: then the letter is in
    /// flight.
    async fn answer(State(stand_in): State<Self>, uri: axum::http::Uri, body: String) -> axum::Json<Value> {
        let call = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let mut calls = stand_in.calls.lock().unwrap();
        let is_in_flight = calls.last().is_some_and(|last| last.ends_with(":pull"));
        let answer = match call.as_str() {
            "crm-service-dead-letter:pull" if !is_in_flight => json!({ "receivedMessages": [{
                "ackId": "ack-1",
                "message": {
                    "messageId": "9", "publishTime": "2026-01-02T03:04:05Z", "data": "bm8=",
                    "attributes": {
                        "dead-letter-reason": "not JSON",
                        "dead-letter-message-id": "7",
                        "dead-letter-subscription": "projects/local/subscriptions/crm-service-user-events",
                    },
                },
            }] }),
            _ => json!({}),
        };
        let noted = if call.ends_with(":pull") { call } else { format!("{call} {body}") };
        calls.push(noted);
        axum::Json(answer)
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
        .unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

#[tokio::test]
async fn a_published_message_is_handled_once() {
    let local = Local::start().await;
    let id = local.sign_up("user-1", "Ada", json!({})).await;
    until("the ack", async || (local.stage(&id).await["stage"] == "acked").then_some(())).await;
    assert_eq!(local.contacts().await, 1);
    let fate = local.stage(&id).await;
    assert_eq!((&fate["attempts"], &fate["failure"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn a_restarted_service_gets_missed_messages() {
    let local = Local::start().await;
    let (status, answer) = local.post("/_local/services/crm-service/stop", json!({})).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "name": "crm-service", "running": false })));
    let (status, problem) = local.get("/crm-service/contacts").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem.contains("POST /_local/services/crm-service/start"), "{problem}");

    let id = local.sign_up("user-1", "Ada", json!({})).await;
    let failed = async || Some(local.stage(&id).await).filter(|fate| fate["stage"] == "retrying");
    assert_eq!(until("a failed delivery", failed).await["failure"], "stopped");
    assert_eq!(local.state().await["services"][0]["subscriptions"][0]["waiting"], 1);

    local.post("/_local/services/crm-service/start", json!({})).await;
    until("the contact", async || (local.contacts().await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_rejected_message_becomes_a_dead_letter_with_its_reason() {
    let local = Local::start().await;
    let id = local.sign_up("user-1", "Nobody", json!({})).await;
    let dead_lettered =
        async || Some(local.state().await["deadLetters"][0].clone()).filter(|letter| !letter.is_null());
    let letter = until("the dead letter", dead_lettered).await;
    assert_eq!(letter["service"], "crm-service");
    assert_eq!(letter["reason"], "nobody is <b>no</b> name");
    assert_eq!(letter["type"], "user.created");
    let fate = local.stage(&id).await;
    assert_eq!((&fate["stage"], &fate["failure"]), (&json!("rejected"), &letter["reason"]));

    let (_, page) = local.get("/_local/dead-letters").await;
    assert!(page.contains("nobody is &lt;b&gt;no&lt;/b&gt; name"), "{page}");
    let (_, map) = local.get("/").await;
    assert!(map.contains("crm-service: up, 0 waiting, 1 dead letter\""), "{map}");
    let (_, page) = local.get("/_local/mailbox").await;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");

    let holder = "/v1/projects/local/subscriptions/crm-service-dead-letter";
    let (_, pulled) = local.post(&format!("{holder}:pull"), json!({ "maxMessages": 10 })).await;
    let received = &pulled["receivedMessages"][0];
    assert_eq!(received["message"]["attributes"][attribute::DEAD_LETTER_SERVICE], "crm-service");
    local.post(&format!("{holder}:acknowledge"), json!({ "ackIds": [received["ackId"]] })).await;
    assert_eq!(local.state().await["deadLetterCount"], 0);
}

#[tokio::test]
async fn a_filter_excludes_other_events() {
    let local = Local::start().await;
    let other = local.sign_up("user-1", "Ada", json!({ "ce-type": "user.deleted" })).await;
    let wanted = local.sign_up("user-2", "Bea", json!({ "ce-type": "user.created" })).await;
    until("the ack", async || (local.stage(&wanted).await["stage"] == "acked").then_some(())).await;
    assert_eq!(local.stage(&other).await, Value::Null);
    assert_eq!(local.contacts().await, 1);
}

#[tokio::test]
async fn every_service_has_its_own_path_prefix() {
    let local = Local::start().await;
    for (path, status, text) in [
        ("/crm-service", StatusCode::OK, "/crm-service/contacts"),
        ("/crm-service/", StatusCode::OK, "/crm-service/contacts"),
        ("/crm-service?a=b", StatusCode::OK, "/crm-service/contacts"),
        ("/crm-service/healthz", StatusCode::OK, "ok"),
        ("/crm-service/echo?a=%20b&c", StatusCode::OK, "/echo?a=%20b&c"),
        ("/crm-service/nothing", StatusCode::NOT_FOUND, "There is nothing at this path."),
        ("/crm-services", StatusCode::NOT_FOUND, "There is nothing at this path."),
        ("//crm-service/healthz", StatusCode::NOT_FOUND, "There is nothing at this path."),
        ("/_local/nothing", StatusCode::NOT_FOUND, "There is nothing at this path."),
    ] {
        let (answered, body) = local.get(path).await;
        assert_eq!(answered, status, "{path}: {body}");
        assert!(body.contains(text), "{path}: {body}");
    }
}

#[tokio::test]
async fn errors_have_the_format_of_the_called_api() {
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
        ("/v1/projects/p/topics/%ff".to_owned(), json!({}), 400, "INVALID_ARGUMENT"),
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
async fn accepts_a_message_of_ten_megabytes() {
    let local = Local::start().await;
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "x".repeat(10_000_000));
    let message = json!({ "messages": [{ "data": data }] });
    let (status, answer) = local.post("/v1/projects/any/topics/user-events:publish", message).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let dead_lettered = async || (local.state().await["deadLetterCount"] == 1).then_some(());
    until("the dead letter", dead_lettered).await;
}

#[tokio::test]
async fn a_get_with_a_large_body_is_answered() {
    let local = Local::start().await;
    let mut stream = TcpStream::connect(local.url.trim_start_matches("http://")).await.unwrap();
    let head = "GET /crm-service/contacts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The service does not read the body, so the connection may end before all of it is sent. The answer counts.
    stream.write_all(&[b'x'; 200_000]).await.ok();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_form_on_the_page_redirects_to_the_page() {
    let local = Local::start().await;
    let form = local.client.post(format!("{}/_local/services/crm-service/stop", local.url));
    let form = form.header("accept", "text/html,*/*").header("referer", "http://evil.example//here?a=b");
    let response = form.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["location"], "/here?a=b");
    assert!(local.get("/_local/services").await.1.contains("/_local/services/crm-service/start"));
}

#[tokio::test(start_paused = true)]
async fn a_running_service_relays_every_minute() {
    let service = || {
        let service = Service::new("user-service", "signs up").publishes::<UserCreated>();
        service.post("/users", async || "none")
    };
    let catalog = Catalog::of(&[System { name: "signup", services: vec![service(), crm_service()] }]);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let relay = async move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let counting = Router::new().route("/relay", post(relay));
    let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
    // crm-service publishes no events, so it has nothing to relay.
    let services = [("user-service", counting.clone()), ("crm-service", counting)];
    let stack = Stack::on_broker(&catalog, broker, services);
    let running = tokio::time::timeout(Duration::from_secs(130), stack.run(1));
    assert!(running.await.is_err(), "it runs until it is dropped");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_page_shows_the_outcome_that_a_service_reports() {
    for (header, outcome, badge) in [
        (Some("handled"), json!("handled"), "fate good\">crm-service <b>handled"),
        (Some("duplicate"), json!("duplicate"), "fate plain\">crm-service <b>duplicate"),
        (Some("ignored"), json!("ignored"), "fate warn\">crm-service <b>ignored"),
        (Some("something else"), Value::Null, "fate plain\">crm-service <b>acked"),
        (None, Value::Null, "fate plain\">crm-service <b>acked"),
    ] {
        let catalog = Catalog::of(&[System { name: "signup", services: vec![crm_service()] }]);
        let answer = move || async move {
            let header = header.map(|outcome| ("pushbox-outcome", outcome.parse().unwrap()));
            let headers: HeaderMap =
                header.into_iter().map(|(name, value)| (name.parse().unwrap(), value)).collect();
            (StatusCode::NO_CONTENT, headers).into_response()
        };
        let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
        let services = [("crm-service", Router::new().route("/", post(answer)))];
        let local = Local::serve(Stack::on_broker(&catalog, broker, services)).await;
        let id = local.sign_up("user-1", "Ada", json!({})).await;
        until("the ack", async || (local.stage(&id).await["stage"] == "acked").then_some(())).await;
        assert_eq!(local.stage(&id).await["outcome"], outcome);
        let page = local.get("/_local/events").await.1;
        assert!(page.contains(badge), "{badge} is not in {page}");
    }
}

#[tokio::test]
async fn the_page_shows_the_data_and_attributes_of_an_event() {
    let local = Local::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let id = local.sign_up("user-1", "<b>Ada</b>", json!({ "traceparent": trace })).await;
    let page = local.get(&format!("/_local/events/{id}")).await.1;
    for expected in [trace, &id, "&lt;b&gt;Ada&lt;/b&gt;", " UTC\"", "Times are in UTC."] {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
    let event = &local.state().await["events"][0];
    assert_eq!(event["attributes"]["traceparent"], trace);
    assert!(event["data"].as_str().unwrap().contains("user-1"), "{event}");
}

#[tokio::test]
async fn on_the_emulator_the_page_shows_pushed_events() {
    let (local, _) = Local::start_on_emulator().await;
    let user = json!({ "userId": "user-1", "email": "a@b.example", "name": "Ada", "event": "user.created" });
    assert_eq!(local.push("17", user.clone(), json!({ "a": "b" })).await, StatusCode::NO_CONTENT);
    assert_eq!(local.contacts().await, 1, "the service handled the push");
    let state = local.state().await;
    let event = &state["events"][0];
    assert_eq!((&event["type"], &event["topic"]), (&json!("user.created"), &json!("user-events")));
    assert_eq!(event["attributes"], json!({ "a": "b" }));
    assert_eq!(local.stage("17").await["stage"], "acked");

    local.post("/_local/services/crm-service/stop", json!({})).await;
    assert_eq!(local.push("18", user, json!({})).await, StatusCode::SERVICE_UNAVAILABLE);
    let fate = local.stage("18").await;
    assert_eq!((&fate["stage"], &fate["failure"]), (&json!("retrying"), &json!("stopped")));
}

#[tokio::test]
async fn on_the_emulator_dead_letters_are_shown_and_kept() {
    let (local, stand_in) = Local::start_on_emulator().await;
    local.push("7", json!({}), json!({ "ce-type": "other" })).await;
    for _ in 0..2 {
        let state = local.state().await;
        assert_eq!(state["deadLetterCount"], 1, "{state}");
        assert_eq!(state["deadLetters"][0]["reason"], "not JSON");
        assert_eq!(state["deadLetters"][0]["data"], "no");
        let fate = &state["events"][0]["deliveries"]["crm-service-user-events"];
        assert_eq!((&fate["stage"], &fate["failure"]), (&json!("rejected"), &json!("not JSON")));
        let given_back = stand_in.calls.lock().unwrap().last().cloned().unwrap();
        assert!(given_back.starts_with("crm-service-dead-letter:modifyAckDeadline"), "{given_back}");
        assert!(
            given_back.contains("ack-1") && given_back.contains("\"ackDeadlineSeconds\":0"),
            "{given_back}"
        );
    }

    let page = local.get("/_local/dead-letters").await.1;
    assert!(page.contains("<b>1</b> dead letter") && page.contains("not JSON"), "{page}");
    let map = local.get("/").await.1;
    assert!(map.contains("aria-label=\"crm-service: up\""), "{map}");
    assert!(map.contains("The emulators do not report what waits."), "{map}");
}

#[tokio::test]
async fn mails_and_charges_that_cannot_be_read_are_not_shown_as_none() {
    let catalog = Catalog::of(&[System { name: "signup", services: vec![crm_service()] }]);
    let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
    let down = || StoreError("down".to_owned());
    let stack = Stack::on_broker(&catalog, broker, [])
        .with_mailbox(move || std::future::ready(Err(down())))
        .with_payments(move || std::future::ready(Err(down())));
    let local = Local::listen(stack).await;
    for (path, sentence) in [
        ("/_local/mailbox", "The mails cannot be read: the store failed: down."),
        ("/_local/payments", "The charges cannot be read: the store failed: down."),
    ] {
        let (status, page) = local.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(page.contains(sentence) && !page.contains(" yet"), "{page}");
    }
    for path in ["/_local/mailbox/mail-1", "/_local/mails/mail-1"] {
        assert_eq!(local.get(path).await.0, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let state = local.state().await;
    assert_eq!((&state["mailCount"], &state["mails"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn an_unknown_total_is_not_shown_as_zero() {
    let catalog = Catalog::of(&[System { name: "signup", services: vec![crm_service()] }]);
    // Nothing listens there.
    let emulator = Emulator::new("127.0.0.1:1", "local").unwrap();
    let local = Local::serve(Stack::on_emulator(&catalog, emulator, [])).await;
    assert_eq!(local.state().await["deadLetterCount"], Value::Null);
    let page = local.get("/_local/dead-letters").await.1;
    assert!(page.contains("The total is unknown."), "{page}");
}

#[tokio::test]
async fn a_service_lists_its_routes() {
    let local = Local::start().await;
    let list: Value = serde_json::from_str(&local.get("/crm-service").await.1).unwrap();
    let route = |method: &str, path: &str| json!({ "method": method, "path": path });
    let routes = [
        route("GET", "/crm-service/contacts"),
        route("GET", "/crm-service/echo"),
        route("POST", "/crm-service/"),
        route("POST", "/crm-service/relay"),
        route("GET", "/crm-service/healthz"),
    ];
    assert_eq!(list, json!({ "name": "crm-service", "about": "keeps contacts", "routes": routes }));

    let browser = local.client.get(format!("{}/crm-service", local.url)).header("accept", "text/html");
    let page = browser.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("<a href=\"/crm-service/contacts\">"), "{page}");
}

#[tokio::test]
async fn mails_are_shown_as_html_that_runs_no_script() {
    let local = Local::start().await;
    let page = local.get("/_local/mailbox/mail-1").await.1;
    for (path, body) in [
        ("/_local/mails/mail-1", "<p>Hello</p>"),
        ("/_local/mails/mail-1/attachments/0", "<script>alert(1)</script>"),
    ] {
        assert!(page.contains(&format!("=\"{path}\"")), "{path} is not in {page}");
        let response = local.client.get(format!("{}{path}", local.url)).send().await.unwrap();
        let header = |name| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with("text/html"));
        let policy = header("content-security-policy");
        assert!(policy.starts_with("sandbox;") && policy.contains("default-src 'none'"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(response.text().await.unwrap(), body);
    }
    for path in
        ["/_local/mails/mail-2", "/_local/mails/mail-1/attachments/1", "/_local/mails/mail-1/attachments/x"]
    {
        assert_eq!(local.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn only_the_page_itself_may_stop_a_service() {
    let local = Local::start().await;
    let port = local.url.rsplit(':').next().unwrap();
    let here = format!("localhost:{port}");
    for (host, origin, allowed) in [
        (here.clone(), None, true),
        (here.clone(), Some(format!("http://{here}")), true),
        (format!("127.0.0.1:{port}"), None, true),
        (format!("[::1]:{port}"), None, true),
        (format!("LOCALHOST:{port}"), Some(format!("http://{here}")), true),
        ("localhost".to_owned(), None, true),
        ("evil.example".to_owned(), None, false),
        ("localhost.evil.example".to_owned(), None, false),
        (here.clone(), Some("https://evil.example".to_owned()), false),
        (here.clone(), Some("http://localhost:1".to_owned()), false),
        (here.clone(), Some("null".to_owned()), false),
    ] {
        let stop = local.client.post(format!("{}/_local/services/crm-service/stop", local.url));
        let stop = stop.header("host", &host);
        let stop = if let Some(origin) = &origin { stop.header("origin", origin) } else { stop };
        let response = stop.send().await.unwrap();
        let expected = if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(response.status(), expected, "{host} {origin:?}");
        if !allowed {
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }
}

#[tokio::test]
async fn a_grpc_client_is_referred_to_the_emulators() {
    let local = Local::start().await;
    let client = Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let call = client.post(format!("{}/google.pubsub.v1.Publisher/Publish", local.url));
    let response = call.header("content-type", "application/grpc").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "12");
    let message = response.headers()["grpc-message"].to_str().unwrap();
    assert!(message.contains("scripts/emulators"), "{message}");
}

#[tokio::test]
async fn a_person_creates_reads_and_deletes_a_subscription() {
    let local = Local::start().await;
    let at = |path: &str| format!("{}/v1/projects/p/subscriptions{path}", local.url);
    let call = async |request: reqwest::RequestBuilder| -> (u16, Value) {
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    let create = async |body: Value| call(local.client.put(at("/mine")).json(&body)).await;
    let topic = "projects/p/topics/user-events";
    for (body, status) in [
        (json!({}), 400),
        (json!({ "topic": topic, "pushConfig": { "pushEndpoint": "http://localhost:1" } }), 400),
        (json!({ "topic": topic, "filter": "nonsense" }), 400),
        (json!({ "topic": topic, "ackDeadlineSeconds": 5 }), 400),
        (json!({ "topic": "projects/p/topics/nothing" }), 404),
        (json!({ "topic": topic, "filter": "attributes.a = \"b\"", "retainAckedMessages": true }), 200),
        (json!({ "topic": topic }), 409),
    ] {
        let (answered, answer) = create(body.clone()).await;
        assert_eq!(answered, status, "{body}: {answer}");
    }
    let (_, mine) = call(local.client.get(at("/mine"))).await;
    assert_eq!((&mine["topic"], &mine["filter"]), (&json!(topic), &json!("attributes.a = \"b\"")));

    local.sign_up("user-1", "Ada", json!({})).await;
    let id = local.sign_up("user-2", "Bea", json!({ "a": "b" })).await;
    let pull =
        async || local.post("/v1/projects/p/subscriptions/mine:pull", json!({ "maxMessages": 9 })).await.1;
    let pulled = pull().await;
    let received = pulled["receivedMessages"].as_array().unwrap();
    assert_eq!(received.len(), 1, "{pulled}");
    assert_eq!(received[0]["message"]["messageId"], id);
    let ids = &json!([received[0]["ackId"]]);
    // If the message were still leased, the second call would make it due.
    for (verb, body) in [
        ("acknowledge", json!({ "ackIds": ids })),
        ("modifyAckDeadline", json!({ "ackIds": ids, "ackDeadlineSeconds": 0 })),
    ] {
        let (status, answer) = local.post(&format!("/v1/projects/p/subscriptions/mine:{verb}"), body).await;
        assert_eq!(status, StatusCode::OK, "{verb}: {answer}");
    }
    assert_eq!(pull().await["receivedMessages"], json!([]), "the message is acked");
    let past = json!({ "time": "2020-01-01T00:00:00Z" });
    let (status, answer) = local.post("/v1/projects/p/subscriptions/mine:seek", past).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(pull().await["receivedMessages"][0]["message"]["messageId"], id, "the message is retained");

    let topics =
        async |path: &str| call(local.client.get(format!("{}/v1/projects/p/topics{path}", local.url))).await;
    let (_, all) = topics("").await;
    assert!(all["topics"].as_array().unwrap().iter().any(|one| one["name"] == topic), "{all}");
    assert_eq!(topics("/user-events").await.1["name"], topic);
    assert_eq!(topics("/nothing").await.0, 404);

    assert_eq!(call(local.client.delete(at("/mine"))).await.0, 200);
    assert_eq!(call(local.client.get(at("/mine"))).await.0, 404);
    assert_eq!(call(local.client.delete(at("/crm-service-user-events"))).await.0, 400);
    let (_, all) = call(local.client.get(at(""))).await;
    let names: Vec<_> = all["subscriptions"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(
        names,
        [
            "projects/p/subscriptions/crm-service-dead-letter",
            "projects/p/subscriptions/crm-service-user-events"
        ]
    );
}
