//! Tests of the console over real HTTP: what a person sees, and what the actions do.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod harness;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use catalog::Catalog;
use events::UserCreated;
use local::{Broker, DeliveryPolicy, Stack, Switch, Try};
use pushbox::{
    Clock, Context, Document, Effect, Failure, Offset, Ports, Problem, PushAuth, Service, System,
    audit::Balance, store::Memory,
};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use harness::{until, user_service};

#[derive(Serialize, Deserialize)]
struct Charge {
    user_id: String,
}

impl Document for Charge {
    const COLLECTION: &'static str = "charges";
    fn id(&self) -> String {
        self.user_id.clone()
    }
}

/// Counts its calls.
#[derive(Clone, Default)]
struct Charging(Arc<AtomicUsize>);

impl Effect for Charging {
    type Event = UserCreated;
    type Call = String;
    type Outcome = ();

    const SECRETS: &[&str] = &[];

    async fn claim(&self, user: UserCreated, _: Context) -> Result<Option<String>, Failure> {
        Ok(Some(user.user_id.to_string()))
    }

    async fn perform(&self, _: String, _: String) -> Result<(), Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn complete(&self, user_id: String, (): (), cx: Context) -> Result<(), Failure> {
        cx.put(&Charge { user_id });
        Ok(())
    }

    async fn abandon(&self, _: String, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

fn services(charging: &Charging) -> Vec<Service> {
    async fn charges(
        documents: pushbox::Documents,
        page: pushbox::PageQuery,
    ) -> Result<axum::Json<pushbox::Page<Charge>>, Problem> {
        documents.page(Vec::new(), &page).await.map(axum::Json)
    }
    let billing =
        Service::new("billing-service", "charges users").effect(charging.clone()).get("/charges", charges);
    vec![user_service(), billing]
}

/// A running stack, and a client for it.
struct Console {
    url: String,
    client: Client,
    charging: Charging,
    switch: Arc<AtomicBool>,
}

impl Console {
    async fn start() -> Self {
        Self::with_documents(1 << 20, 1 << 20).await
    }

    /// With these bounds of the documents in memory.
    async fn with_documents(most_documents: usize, most_receipts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let charging = Charging::default();
        let catalog = Catalog::of(&[System { name: "signup", services: services(&charging) }]);
        let offset = Offset::default();
        let clock = Clock::moved_by(offset.clone());
        let now = clock.clone();
        let broker = Broker::with_clock(&catalog, DeliveryPolicy::local(), move || now.now()).unwrap();
        let store = Arc::new(Memory::bounded(clock.clone(), most_receipts));
        let mut ports = Ports::new(store.clone(), Arc::new(broker.clone()));
        ports.clock = clock;
        let of_build = charging.clone();
        let build = move |name: &str, ports: Ports| {
            let service = services(&of_build).into_iter().find(|service| service.name() == name)?;
            Some(service.app(ports, PushAuth::None))
        };
        let switch = Arc::<AtomicBool>::default();
        let fault = Switch { id: "cards", label: "declines", of: "Gateway", is_on: switch.clone() };
        let example = r#"{"userId":"user-9","email":"a@b.example","name":"Ada"}"#;
        let sign_up = Try {
            id: "sign-up",
            system: "signup",
            account: None,
            label: "Sign up",
            about: "",
            path: "/user-service/users",
            body: r#"{"userId":"user-{number}","email":"a@b.example","name":"Ada"}"#,
        };
        let stack = Stack::on_broker(&catalog, broker, [])
            .with_services(&ports, build)
            .with_fault_points(
                services(&charging).iter().map(|service| (service.name(), service.fault_points())),
            )
            .with_receipts(store.clone(), "local")
            .with_memory(store, most_documents, most_receipts)
            .with_port(address.port())
            .with_clock(offset)
            .with_switches([fault])
            .with_examples([("user.created", example)])
            .with_tries([sign_up])
            .with_balances(|| async {
                Ok(vec![("signup", Balance::equal("Users are charged.", vec![("users", 2), ("charges", 1)]))])
            });
        tokio::spawn(axum::serve(listener, stack.app()).into_future());
        tokio::spawn(stack.run(address.port()));
        let client = Client::builder().no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), client, charging, switch }
    }

    async fn page(&self, path: &str) -> String {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    }

    async fn state(&self) -> Value {
        serde_json::from_str(&self.page("/_local/state").await).unwrap()
    }

    async fn act(&self, path: &str, fields: &str) -> (StatusCode, Value) {
        let form = self.client.post(format!("{}{path}", self.url)).body(fields.to_owned());
        let response = form.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// The answer to a browser.
    async fn browse(&self, path: &str) -> (StatusCode, String) {
        let request = self.client.get(format!("{}{path}", self.url)).header("accept", "text/html");
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Publishes a message by hand. Returns the status, and the message's id.
    async fn publish(&self, message: Value) -> (StatusCode, String) {
        let path = format!("{}/v1/projects/local/topics/user-events:publish", self.url);
        let response = self.client.post(path).json(&json!({ "messages": [message] })).send().await.unwrap();
        let (status, answer) = (response.status(), response.json::<Value>().await.unwrap());
        (status, answer["messageIds"][0].as_str().unwrap_or_default().to_owned())
    }

    async fn done(&self, path: &str, fields: &str) -> String {
        let (status, answer) = self.act(path, fields).await;
        assert_eq!(status, StatusCode::OK, "{path} {fields}: {answer}");
        answer["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The last event, and its delivery to billing-service.
    async fn event(&self) -> (String, Value) {
        let event = self.state().await["events"][0].clone();
        let id = event["messageId"].as_str().unwrap_or_default().to_owned();
        (id, event["deliveries"]["billing-service-user-events"].clone())
    }

    async fn until_handled(&self) -> String {
        until("the event is handled", async || {
            let (id, fate) = self.event().await;
            (fate["outcome"] == "handled").then_some(id)
        })
        .await
    }

    async fn charges(&self) -> usize {
        let page: Value = serde_json::from_str(&self.page("/billing-service/charges").await).unwrap();
        page["items"].as_array().map_or(0, Vec::len)
    }
}

#[tokio::test]
async fn a_tried_sign_up_has_a_tree_from_its_request_to_its_charge() {
    let console = Console::start().await;
    assert!(console.page("/").await.contains("Nothing has happened yet"));
    assert_eq!(console.done("/_local/try/sign-up", "").await, "Sign up: 202 Accepted.");
    let id = console.until_handled().await;
    let page = console.page(&format!("/_local/events/{id}")).await;
    for part in [
        "request</span><strong>POST /users</strong> to user-service",
        "user.created",
        "user-1",
        "billing-service",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let tree = &page[page.find("class=\"tree\"").unwrap()..];
    assert!(tree.contains("badge good\">handled</span> billing-service"), "{tree}");
    assert!(!page.contains("Nothing has happened yet"));
    let missing = console.client.get(format!("{}/_local/events/1", console.url)).send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_service_that_is_killed_after_its_call_makes_no_second_call() {
    let console = Console::start().await;
    console.done("/_local/services/billing-service/faults", "killAt=performed").await;
    assert!(console.page("/").await.contains("will be killed after the call, before its record"));
    console.done("/_local/try/sign-up", "").await;
    let killed = async || console.page("/_local/services").await.contains("badge bad\">killed").then_some(());
    until("billing-service is killed", killed).await;
    assert_eq!(console.charging.0.load(Ordering::Relaxed), 1);
    let answer = console.client.get(format!("{}/billing-service/charges", console.url)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);

    let banner = "billing-service</strong> is killed after the call, before its record";
    assert!(console.page("/").await.contains(banner));
    let failed = async || (console.event().await.1["failure"].is_string()).then_some(());
    until("the delivery failed", failed).await;
    let path = format!("/_local/events/{}", console.event().await.0);
    let page = console.page(&path).await;
    assert!(page.contains("<small>killed after the call, before its record</small>"), "{page}");

    console.done("/_local/services/billing-service/start", "").await;
    assert_eq!(console.charges().await, 0, "the call is not recorded");
    let page = console.page(&path).await;
    assert!(page.contains("Claimed until ") && page.contains("+1 minute"), "{page}");
    // The claim's lease ends, so a delivery takes it over.
    console.done("/_local/clock/advance", "seconds=60").await;
    let charged = async || (console.charges().await == 1).then_some(());
    until("the call is recorded", charged).await;
    // The repeat had the same idempotency key: the gateway, which this test replaces, would drop it.
    assert_eq!(console.charging.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_killed_service_drops_its_requests_and_is_built_anew() {
    let console = Console::start().await;
    console.done("/_local/services/billing-service/faults", "latencyMillis=60000").await;
    console.done("/_local/try/sign-up", "").await;
    let in_flight = async || (console.event().await.1["stage"] == "delivered").then_some(());
    until("the delivery is in flight", in_flight).await;
    assert_eq!(console.act("/_local/services/billing-service/kill", "").await.1["running"], false);
    let failed = async || (console.event().await.1["failure"] == "killed").then_some(());
    until("the delivery failed", failed).await;
    console.done("/_local/faults/end", "").await;
    assert!(!console.page("/").await.contains("60000 ms slower"));
    assert_eq!(console.act("/_local/services/billing-service/start", "").await.1["running"], true);
    console.until_handled().await;
    assert_eq!(console.charges().await, 1);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_after_the_repair_and_another_is_dropped() {
    let console = Console::start().await;
    console.done("/_local/services/billing-service/faults", "refuseCommits=on").await;
    console.done("/_local/try/sign-up", "").await;
    console.done("/_local/try/sign-up", "").await;
    let two = async || (console.state().await["deadLetterCount"] == 2).then_some(());
    until("two dead letters", two).await;
    let page = console.page("/_local/dead-letters").await;
    assert!(page.contains("the store refuses the documents") && page.contains("2 letters"), "{page}");
    let letters = console.state().await["deadLetters"].clone();
    let id = |index: usize| letters[index]["messageId"].as_str().unwrap().to_owned();

    console.done("/_local/faults/end", "").await;
    let fields = format!("service=billing-service&ids={}", id(0));
    assert_eq!(
        console.done("/_local/dead-letters/replay", &fields).await,
        "One letter was replayed to billing-service."
    );
    let handled = async || (console.charges().await == 1).then_some(());
    until("the replay is handled", handled).await;
    let result =
        async || console.page("/_local/dead-letters").await.contains("badge good\">handled").then_some(());
    until("the page shows the result", result).await;
    assert_eq!(
        console.act("/_local/dead-letters/replay", &fields).await.0,
        StatusCode::NOT_FOUND,
        "it is gone"
    );
    let replay = console.state().await["events"][0]["messageId"].as_str().unwrap().to_owned();
    let page = console.page(&format!("/_local/events/{replay}")).await;
    let tree = &page[page.find("class=\"tree\"").unwrap()..page.find("Attributes").unwrap()];
    assert!(
        tree.contains(">replayed</span>") && tree.contains("good\">handled</span> billing-service"),
        "{tree}"
    );
    assert!(!tree.contains("reject"), "the last delivery counts: {tree}");
    let events = console.page("/_local/events").await;
    assert_eq!(events.matches(">replay</span>").count(), 1, "{events}");

    let fields = format!("service=billing-service&ids={}", id(1));
    assert_eq!(
        console.done("/_local/dead-letters/drop", &fields).await,
        "One letter of billing-service was dropped."
    );
    assert_eq!(console.state().await["deadLetterCount"], 0);
    assert!(console.page("/_local/dead-letters").await.contains("No dead letters"));
}

#[tokio::test]
async fn letters_whose_reasons_differ_only_in_ids_are_one_group() {
    let console = Console::start().await;
    for (code, reason) in [
        ("rejected", "there is no order a1"),
        ("rejected", "there is no order b2"),
        ("exhausted", "there is no order c3"),
    ] {
        let attributes =
            json!({ "ce-type": "user.created", "dead-letter-code": code, "dead-letter-reason": reason });
        let publish = format!("{}/v1/projects/local/topics/billing-service-dead-letter:publish", console.url);
        let messages = json!({ "messages": [{ "attributes": attributes }] });
        let answer = console.client.post(publish).json(&messages).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let letters = console.state().await["deadLetters"].clone();
    let group = |index: usize| letters[index]["group"].as_str().unwrap();
    assert_eq!(group(1), group(2));
    assert_ne!(group(0), group(1), "the codes differ");
    let page = console.page("/_local/dead-letters").await;
    for part in [
        "rejected · 2 letters",
        "exhausted · 1 letter",
        "no order a1",
        "no order b2",
        &format!("dead-letters replay --group {} --local http://localhost", group(1)),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn an_event_is_delivered_again_and_handled_once() {
    let console = Console::start().await;
    console.done("/_local/try/sign-up", "").await;
    let id = console.until_handled().await;
    let path = format!("/_local/events/{id}/deliver");
    for (fields, message, attempts) in [
        ("", "One delivery begins.", 2),
        ("copies=2", "2 deliveries begin.", 4),
        ("subscription=billing-service-user-events", "One delivery begins.", 5),
    ] {
        assert_eq!(console.done(&path, fields).await, message);
        until("the duplicates are dropped", async || {
            let fate = console.event().await.1;
            let ended =
                fate["history"].as_array()?.iter().filter(|attempt| attempt["ended"].is_string()).count();
            (ended == attempts && fate["outcome"] == "duplicate").then_some(())
        })
        .await;
    }
    let (status, problem) = console.act(&path, "subscription=another").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["detail"], "There is no such subscription of this event: another.");
    assert_eq!((console.charges().await, console.charging.0.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn the_broker_duplicates_and_loses_acks_and_each_event_is_handled_once() {
    let console = Console::start().await;
    console.done("/_local/broker/faults", "duplicate=on&reorder=on&dropAcks=on").await;
    assert!(console.page("/").await.contains("duplicates, reorders, loses acks"));
    console.done("/_local/try/sign-up", "").await;
    let repeated = async || {
        let fate = console.event().await.1;
        (fate["outcome"] == "duplicate" && fate["stage"] == "acked").then_some(())
    };
    until("a duplicate is acked", repeated).await;
    assert_eq!((console.charges().await, console.charging.0.load(Ordering::Relaxed)), (1, 1));
    console.done("/_local/switches/cards", "on=on").await;
    assert!(console.switch.load(Ordering::Relaxed));
    console.done("/_local/faults/end", "").await;
    assert!(!console.switch.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_form_sends_an_event_by_its_schema() {
    let console = Console::start().await;
    let page = console.page("/_local/send?type=user.created").await;
    assert!(page.contains("name=\"userId\" value=\"user-9\" required"), "{page}");
    console.done("/_local/send/user.created", "userId=user-9&email=a%40b.example&name=Ada").await;
    let id = console.until_handled().await;
    let event = console.state().await["events"][0].clone();
    let data: Value = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        data,
        json!({ "userId": "user-9", "email": "a@b.example", "name": "Ada", "event": "user.created" })
    );
    assert_eq!(event["attributes"]["ce-source"], "//pushbox/console");
    assert!(console.page(&format!("/_local/send?from={id}")).await.contains("value=\"user-9\""));
    assert_eq!(console.act("/_local/send/nothing", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_filters_of_the_events_are_in_the_url() {
    let console = Console::start().await;
    console.done("/_local/try/sign-up", "").await;
    console.until_handled().await;
    for (query, is_found) in [
        ("", true),
        ("?type=user.created&service=billing-service&outcome=handled&text=USER-1&minutes=5", true),
        ("?type=other", false),
        ("?service=user-service", false),
        ("?outcome=retry", false),
        ("?text=nobody", false),
        ("?minutes=nonsense", true),
    ] {
        let page = console.page(&format!("/_local/events{query}")).await;
        assert_eq!(page.contains("class=\"row\""), is_found, "{query}");
        assert_eq!(page.contains("No event matches"), !is_found, "{query}");
    }
    console.done("/_local/events/clear", "").await;
    assert!(console.page("/_local/events").await.contains("No events yet"));
}

#[tokio::test]
async fn the_stream_continues_after_the_last_change_that_a_client_has_seen() {
    let console = Console::start().await;
    console.done("/_local/try/sign-up", "").await;
    console.until_handled().await;
    let read = async |query: &str, last: Option<&str>| {
        let mut request = console.client.get(format!("{}/_local/stream{query}", console.url));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let mut response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while !text.contains("\n\n") {
            text += str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap();
        }
        text
    };
    let all = read("?after=0", None).await;
    let published = r#"{"kind":"published","event":"user.created","source":"//pushbox/user-service"}"#;
    let delivered =
        r#"{"kind":"delivered","event":"user.created","service":"billing-service","result":"handled"}"#;
    assert!(all.contains(published) && all.contains(delivered), "{all}");
    let rest = read("?after=0", Some("1")).await;
    assert!(!rest.contains(published) && rest.contains(delivered), "{rest}");
    let from_another_process = read("", Some("999")).await;
    assert!(from_another_process.contains("event: gap"), "{from_another_process}");
}

#[tokio::test]
async fn a_page_loads_nothing_from_elsewhere_and_its_assets_have_a_tag() {
    let console = Console::start().await;
    let get = |path: &str| console.client.get(format!("{}{path}", console.url));
    let response = get("/").send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let page = response.text().await.unwrap();
    assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains("onclick"), "{page}");
    for asset in [
        "console.css",
        "map.css",
        "main.js",
        "stream.js",
        "parts.js",
        "actions.js",
        "filters.js",
        "map.js",
        "icon.svg",
    ] {
        let path = format!("/_local/assets/{asset}");
        let first = get(&path).send().await.unwrap();
        assert_eq!(first.status(), StatusCode::OK, "{asset}");
        let tag = first.headers()["etag"].clone();
        let again = get(&path).header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{asset}");
    }
    let missing = get("/_local/assets/..%2Fmain.rs").send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn another_site_can_neither_read_nor_act() {
    let console = Console::start().await;
    let here = console.url.strip_prefix("http://").unwrap();
    let port = here.rsplit(':').next().unwrap();
    let read = [
        "/",
        "/_local/events",
        "/_local/stream",
        "/_local/state",
        "/_local/mails/1",
        "/v1/projects/local/topics",
        "/v2/projects/local/locations/local/queues",
        "/billing-service/charges",
        "/nothing",
    ];
    for path in read {
        let request = console.client.get(format!("{}{path}", console.url)).header("host", "evil.example");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
    }
    let acted = [
        "/_local/try/sign-up",
        "/_local/faults/end",
        "/_local/clock/real",
        "/_local/send/user.created",
        "/v1/projects/local/topics/user-events:publish",
        "/v2/projects/local/locations/local/queues/x/tasks",
        "/user-service/users",
        "/billing-service/",
    ];
    for path in acted {
        for origin in ["https://evil.example", "null", "http://localhost:1"] {
            let request = console.client.post(format!("{}{path}", console.url)).header("origin", origin);
            // A browser sends this without asking first.
            let request =
                request.header("content-type", "text/plain").body(r#"{"messages":[{"data":"e30="}]}"#);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{path} {origin}");
        }
    }
    for (hosts, is_allowed) in [
        (vec![format!("LocalHost:{port}")], true),
        (vec!["localhost".to_owned()], true),
        (vec!["localhost:1".to_owned()], false),
        (vec!["localhost:".to_owned()], false),
        (vec![format!("localhost.:{port}")], false),
        (vec![here.to_owned(), here.to_owned()], false),
    ] {
        let mut stream = TcpStream::connect(here).await.unwrap();
        let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        let request = format!("GET /_local/state HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), is_allowed, "{hosts}{answer}");
    }
}

#[tokio::test]
async fn the_clock_moves_and_comes_back() {
    let console = Console::start().await;
    assert!(console.page("/").await.contains("Clock: real time"));
    assert_eq!(console.act("/_local/clock/next", "").await.0, StatusCode::CONFLICT, "nothing waits");
    assert_eq!(
        console.done("/_local/clock/advance", "seconds=3600").await,
        "The clock has moved by 1 h 0 min."
    );
    assert!(console.page("/").await.contains("+1 h 0 min"));
    console.done("/_local/services/billing-service/stop", "").await;
    console.done("/_local/try/sign-up", "").await;
    until("a retry waits", async || (console.event().await.1["stage"] == "retrying").then_some(())).await;
    assert!(console.done("/_local/clock/next", "").await.starts_with("The clock has moved by "));
    console.done("/_local/clock/real", "").await;
    console.done("/_local/services/billing-service/start", "").await;
    console.until_handled().await;
    assert!(console.page("/").await.contains("Clock: real time"));
}

#[tokio::test]
async fn counts_that_do_not_agree_are_not_green() {
    let console = Console::start().await;
    let page = console.page("/").await;
    assert!(page.contains("Users are charged. <span class=\"badge warn\">not yet</span>"), "{page}");
}

#[tokio::test]
async fn a_wrong_action_says_what_is_wrong() {
    let console = Console::start().await;
    for (path, fields, status) in [
        ("/_local/services/nobody/kill", "", StatusCode::NOT_FOUND),
        ("/_local/services/billing-service/faults", "latencyMillis=soon", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/services/billing-service/faults", "latencyMillis=60001", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/services/billing-service/faults", "killAt=never", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/services/billing-service/faults", "refuseCommits=maybe", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/services/billing-service/faults", "latency=5", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/services/user-service/faults", "killAt=performed", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/services/user-service/faults", "killAt=committed", StatusCode::OK),
        ("/_local/broker/faults", "duplicates=on", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/try/nothing", "", StatusCode::NOT_FOUND),
        ("/_local/switches/nothing", "on=on", StatusCode::NOT_FOUND),
        ("/_local/events/x/deliver", "", StatusCode::NOT_FOUND),
        ("/_local/dead-letters/replay", "ids=1", StatusCode::UNPROCESSABLE_ENTITY),
        ("/_local/dead-letters/drop", "service=billing-service&ids=1", StatusCode::NOT_FOUND),
    ] {
        let (answered, problem) = console.act(path, fields).await;
        assert_eq!(answered, status, "{path} {fields}: {problem}");
        assert!(status == StatusCode::OK || problem["detail"].is_string(), "{path} {fields}: {problem}");
    }
}

#[tokio::test]
async fn a_service_offers_only_the_fault_points_that_it_reaches() {
    let console = Console::start().await;
    let page = console.page("/_local/services").await;
    let (_, of_user) = page.split_once("id=\"user-service\"").unwrap();
    let (of_user, of_billing) = of_user.split_once("id=\"billing-service\"").unwrap();
    assert!(!of_user.contains("value=\"performed\"") && of_user.contains("value=\"committed\""), "{of_user}");
    assert!(
        of_billing.contains("value=\"performed\"") && of_billing.contains("value=\"claimed\""),
        "{of_billing}"
    );
}

#[tokio::test]
async fn an_event_that_nobody_receives_cannot_be_delivered_again() {
    let console = Console::start().await;
    let (_, id) =
        console.publish(json!({ "data": "e30=", "attributes": { "ce-type": "nothing.happened" } })).await;
    let path = format!("/_local/events/{id}");
    let page = console.page(&path).await;
    assert!(page.contains("No subscription receives this event."), "{page}");
    assert!(!page.contains("Deliver again</button>") && page.contains("Edit and send"), "{page}");
    assert!(!page.contains("no longer known"), "it began this story itself: {page}");
    assert_eq!(console.act(&format!("{path}/deliver"), "").await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_long_list_has_pages() {
    let console = Console::start().await;
    for number in 0..101 {
        let attributes = json!({ "ce-type": "nothing.happened", "number": number.to_string() });
        console.publish(json!({ "data": "e30=", "attributes": attributes })).await;
    }
    let rows = |page: &str| page.matches("class=\"row\"").count();
    let first = console.page("/_local/events?type=nothing.happened").await;
    assert_eq!(rows(&first), 100);
    let next = "/_local/events?type=nothing.happened&amp;page=2";
    assert!(first.contains("1–100 of 101") && first.contains(next) && !first.contains("Newer"), "{first}");
    let second = console.page(&next.replace("&amp;", "&")).await;
    assert_eq!(rows(&second), 1);
    assert!(second.contains("101–101 of 101") && second.contains("Newer") && !second.contains("Older"));
}

#[tokio::test]
async fn an_error_is_a_problem_for_a_program_and_a_page_for_a_person() {
    let console = Console::start().await;
    for (path, status) in [
        ("/nothing", StatusCode::NOT_FOUND),
        ("/_local/events/1", StatusCode::NOT_FOUND),
        ("/_local/events/%ff", StatusCode::BAD_REQUEST),
        ("/_local/events?type=a&type=b", StatusCode::BAD_REQUEST),
        ("/_local/mails/%ff", StatusCode::BAD_REQUEST),
        ("/_local/clock/next", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let response = console.client.get(format!("{}{path}", console.url)).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = response.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(!detail.contains("deserialize") && !detail.contains("rror"), "{path}: {detail}");

        let (browsed, page) = console.browse(path).await;
        assert_eq!(browsed, status, "{path}");
        assert!(page.contains("<nav") && page.contains(detail), "{path}: {page}");
    }
    // A service answers for itself.
    let (status, answer) = console.browse("/billing-service/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer.starts_with('{'), "{answer}");
}

#[tokio::test]
async fn the_documents_in_memory_have_a_bound() {
    let console = Console::with_documents(60_000, 20_000).await;
    let full = until("the documents take too much", async || {
        let (status, problem) = console.act("/_local/try/sign-up", "").await;
        (status != StatusCode::OK).then_some((status, problem))
    })
    .await;
    assert_eq!(full.0, StatusCode::INSUFFICIENT_STORAGE, "{}", full.1);
    let detail = full.1["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("Start it again"), "{detail}");
    let (status, _) = console.publish(json!({ "data": "e30=" })).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    // What was accepted is handled, and the oldest receipts are gone.
    let idle = async || {
        let state = console.state().await;
        let backlog = &state["services"][1]["subscriptions"][0];
        (backlog["waiting"] == 0 && backlog["inFlight"] == 0).then_some(state)
    };
    let state = until("all events are handled", idle).await;
    let oldest =
        state["events"].as_array().unwrap().last().unwrap()["messageId"].as_str().unwrap().to_owned();
    let page = console.page(&format!("/_local/events/{oldest}")).await;
    assert!(!page.contains("POST /users"), "the receipt of the first sign-up is dropped: {page}");
}
