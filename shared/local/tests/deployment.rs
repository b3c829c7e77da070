//! Tests of the console of a deployment over real HTTP: a local stack stands in for Pub/Sub, and a route for Cloud
//! Monitoring.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod harness;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{Path, Query},
    http::StatusCode,
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use catalog::Catalog;
use events::UserCreated;
use jiff::{SignedDuration, Timestamp};
use local::{Broker, DeliveryPolicy, Deployment, Stack};
use pushbox::{
    Context, Event, Failure, Message, Ports, PushAuth, Service, System,
    letters::identify,
    publisher::{PublishError, Publisher},
    store::{Change, Memory, Precondition, RECEIPTS, Store, Write},
};
use redrive::{CallError, Monitoring, Names, Pulled, Rest, Subscriber};
use reqwest::{Client, header::ORIGIN};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use harness::{until, user_service};

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct UserWelcomed {
    user_id: String,
}

impl Event for UserWelcomed {
    const TYPE: &'static str = "user.welcomed";
    const TOPIC: &'static str = "user-events";
}

/// Signs users up, keeps contacts unless it is broken, and welcomes a user who is called Grace.
fn services(is_broken: &Arc<AtomicBool>) -> Vec<Service> {
    let is_broken = is_broken.clone();
    let keep = move |user: UserCreated, _: Context| {
        let is_broken = is_broken.load(Ordering::Relaxed);
        let reason = format!("the mapping has no field for {}", user.name.as_str());
        async move { if is_broken { Err(Failure::Reject(reason)) } else { Ok(()) } }
    };
    let welcome = |user: UserCreated, cx: Context| async move {
        if user.name.as_str() == "Grace" {
            cx.publish(&UserWelcomed { user_id: user.user_id.to_string() });
        }
        Ok(())
    };
    let welcomes = Service::new("welcome-service", "welcomes users").publishes::<UserWelcomed>().on(welcome);
    vec![user_service(), Service::new("crm-service", "keeps contacts").on(keep), welcomes]
}

/// Pub/Sub, with the number of letters that were pulled.
struct Holders {
    rest: Rest,
    pulled: AtomicUsize,
}

#[async_trait]
impl Subscriber for Holders {
    async fn pull(&self, subscription: &str, most: usize) -> Result<Vec<Pulled>, CallError> {
        let pulled = self.rest.pull(subscription, most).await?;
        self.pulled.fetch_add(pulled.len(), Ordering::Relaxed);
        Ok(pulled)
    }
    async fn lease(&self, subscription: &str, ack_ids: &[String], time: Duration) -> Result<(), CallError> {
        self.rest.lease(subscription, ack_ids, time).await
    }
    async fn acknowledge(&self, subscription: &str, ack_ids: &[String]) -> Result<(), CallError> {
        self.rest.acknowledge(subscription, ack_ids).await
    }
}

#[async_trait]
impl Publisher for Holders {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        self.rest.publish(message).await
    }
}

/// A running stack, and the console of the same deployment.
struct World {
    stack: String,
    console: String,
    client: Client,
    store: Arc<Memory>,
    is_broken: Arc<AtomicBool>,
    holders: Arc<Holders>,
}

/// Cloud Monitoring's answer, in two pages, with a subscription of another deployment.
async fn time_series(
    Path(project): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    if project == "forbidden" {
        let error = json!({ "error": { "message": "Permission monitoring.timeSeries.list denied" } });
        return Err((StatusCode::FORBIDDEN, Json(error)));
    }
    assert!(query["interval.startTime"] < query["interval.endTime"]);
    let series = |name: &str, value: &str| {
        let points = json!([{ "value": { "int64Value": value } }, { "value": { "int64Value": "999" } }]);
        json!({ "resource": { "type": "pubsub_subscription", "labels": { "subscription_id": name } }, "points": points })
    };
    let is_age = query["filter"].contains("oldest_unacked_message_age");
    let value = |messages: &'static str, age: &'static str| if is_age { age } else { messages };
    Ok(Json(match query["pageToken"].as_str() {
        "" => json!({
            "timeSeries": [series("test-crm-service-user-events", value("41", "90")), series("other-crm-service-user-events", "7")],
            "nextPageToken": "2",
        }),
        _ => json!({ "timeSeries": [series("test-crm-service-dead-letter", value("3", "7200"))] }),
    }))
}

impl World {
    /// `project` is the one that Cloud Monitoring is asked for.
    async fn start(may_replay: bool, project: &str) -> Self {
        let serve = async |app: Router| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(axum::serve(listener, app).into_future());
            format!("http://127.0.0.1:{port}")
        };
        let is_broken = Arc::<AtomicBool>::default();
        let catalog = Catalog::of(&[System { name: "signup", services: services(&is_broken) }]);
        let broker = Broker::new(&catalog, DeliveryPolicy::local()).unwrap();
        let store = Arc::new(Memory::default());
        let ports = Ports::new(store.clone(), Arc::new(broker.clone()));
        let of_build = is_broken.clone();
        let build = move |name: &str, ports: Ports| {
            let service = services(&of_build).into_iter().find(|service| service.name() == name)?;
            Some(service.app(ports, PushAuth::None))
        };
        let stack = Stack::on_broker(&catalog, broker, []).with_services(&ports, build);
        let url = serve(stack.app()).await;
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        tokio::spawn(stack.run(port));

        let monitoring =
            serve(Router::new().route("/v3/projects/{project}/timeSeries", get(time_series))).await;
        let names = Names { project: "local".to_owned(), prefix: String::new() };
        let measured = Names { project: project.to_owned(), prefix: "test-".to_owned() };
        let rest = Rest::local(&url, &names).unwrap();
        let holders = Arc::new(Holders { rest, pulled: AtomicUsize::new(0) });
        let deployment = Deployment {
            catalog,
            names,
            store: store.clone(),
            subscriber: holders.clone(),
            publisher: holders.clone(),
            monitoring: Some(Monitoring::stand_in(&monitoring, &measured).unwrap()),
            may_replay,
        };
        let console = serve(deployment.console(0)).await;
        let client = Client::builder().no_proxy().build().unwrap();
        Self { stack: url, console, client, store, is_broken, holders }
    }

    async fn sign_up(&self, id: &str, name: &str) {
        let user = json!({ "userId": id, "email": "ada@private.example", "name": name });
        let request = self.client.post(format!("{}/user-service/users", self.stack)).json(&user);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    }

    /// The newest event of the stack: its attributes and its result at crm-service.
    async fn event(&self) -> (Value, Value) {
        let state = self.client.get(format!("{}/_local/state", self.stack)).send().await.unwrap();
        let event = state.json::<Value>().await.unwrap()["events"][0].clone();
        (event["attributes"].clone(), event["deliveries"]["crm-service-user-events"]["outcome"].clone())
    }

    async fn page(&self, path: &str) -> String {
        let response = self.client.get(format!("{}{path}", self.console)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    }

    /// The page of events after a search.
    async fn found(&self, pasted: &str) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("key", pasted).finish();
        self.page(&format!("/_local/events?{query}")).await
    }

    async fn act(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let request = self.client.post(format!("{}{path}", self.console)).form(fields);
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Replays a group of letters, and returns what the page says of it.
    async fn replay(&self, group: &str) -> String {
        let fields = [("service", "crm-service"), ("group", group)];
        let (status, answer) = self.act("/_local/dead-letters/replay", &fields).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        until("the replay has ended", async || {
            let page = self.page("/_local/dead-letters").await;
            (!page.contains("data-busy")).then(|| part(&page, "replays").to_owned())
        })
        .await
    }

    /// Stops or starts crm-service.
    async fn switch(&self, verb: &str) {
        let path = format!("{}/_local/services/crm-service/{verb}", self.stack);
        assert_eq!(self.client.post(path).send().await.unwrap().status(), StatusCode::OK);
    }

    /// The link to the data of the last look.
    async fn unmask_link(&self) -> String {
        let page = self.page("/_local/dead-letters").await;
        let link = &page[page.find("/_local/dead-letters?unmask=").unwrap()..];
        link[..link.find('"').unwrap()].to_owned()
    }

    /// As if crm-service had claimed a call for the newest event 25 hours ago, and died.
    async fn claimed_long_ago(&self) {
        let hours = |hours| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
        let claim = json!({ "token": "t", "key": "k", "call": "1", "phase": "performing" });
        self.has_receipt(&json!({
            "key": "k", "createdAt": hours(-25), "expireAt": hours(1), "state": "claimed", "claim": claim,
        }))
        .await;
    }

    /// Stores a receipt of crm-service for the newest event.
    async fn has_receipt(&self, receipt: &Value) {
        let (attributes, _) = self.event().await;
        let attributes: BTreeMap<String, String> = serde_json::from_value(attributes).unwrap();
        let identity = identify(&attributes, &Bytes::new(), "1", "").unwrap();
        let path = pushbox::Path::new("crm-service", RECEIPTS, &identity.receipt);
        let change = Change::Set(receipt.as_object().unwrap().clone());
        self.store.commit(&[Write { path, change, only_if: Precondition::None }]).await.unwrap();
    }

    /// One dead letter of crm-service, and the page after a look.
    async fn with_letter(&self) -> String {
        self.is_broken.store(true, Ordering::Relaxed);
        self.sign_up("user-1", "Ada").await;
        until("the event is rejected", async || (self.event().await.1 == "reject").then_some(())).await;
        let (status, answer) = self.act("/_local/dead-letters/look", &[]).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert!(answer.contains("one dead letter that nobody else holds"), "{answer}");
        self.page("/_local/dead-letters").await
    }
}

/// The id of the only group in a page of dead letters.
fn group_in(page: &str) -> &str {
    let field = "name=\"group\" value=\"";
    &page[page.find(field).unwrap() + field.len()..][..6]
}

/// The part of a page with this name, and what follows it up to the next part.
fn part<'a>(page: &'a str, name: &str) -> &'a str {
    let named = format!("data-part=\"{name}\"");
    let begin = page.find(&named).unwrap_or_else(|| panic!("{named} is missing in {page}")) + named.len();
    let end = page[begin..].find("data-part=").map_or(page.len(), |end| begin + end);
    &page[begin..end]
}

/// The part of a page from `from` on, at most as long as a table row.
fn after<'a>(page: &'a str, from: &str) -> &'a str {
    let begin = page.find(from).unwrap_or_else(|| panic!("{from} is missing in {page}"));
    &page[begin..(begin + 300).min(page.len())]
}

#[tokio::test]
async fn the_backlogs_are_those_of_cloud_monitoring() {
    let world = World::start(false, "acme").await;
    let page = world.page("/_local/services").await;
    assert!(
        after(&page, "crm-service-user-events")
            .contains("Waiting\">41</td><td data-label=\"Oldest\">1 min 30 s</td>"),
        "{page}"
    );
    assert!(
        after(&page, "crm-service-dead-letter")
            .contains("Waiting\">3</td><td data-label=\"Oldest\">2 h 0 min</td>"),
        "{page}"
    );
    let map = world.page("/?service=crm-service").await;
    assert!(map.contains("crm-service: 41 waiting, 3 dead letters") && map.contains("read-only"), "{map}");
    assert!(!map.contains("data-sequence"), "it has no stream");

    let world = World::start(false, "forbidden").await;
    let page = world.page("/_local/services").await;
    assert!(page.contains("What waits is unknown") && page.contains("timeSeries.list denied"), "{page}");
    assert!(after(&page, "crm-service-user-events").contains("Waiting\">–</td>"), "{page}");
    let map = world.page("/").await;
    assert!(map.contains("aria-label=\"crm-service\""), "{map}");
}

#[tokio::test]
async fn the_key_of_a_log_line_or_the_id_of_a_story_finds_the_causal_tree() {
    let world = World::start(false, "acme").await;
    world.sign_up("user-1", "Ada").await;
    let attributes = until("the event is handled", async || {
        let (attributes, outcome) = world.event().await;
        (outcome == "handled").then_some(attributes)
    })
    .await;
    let text = |name: &str| attributes[name].as_str().unwrap().to_owned();
    let find = async |key: &str| world.found(key).await;
    let key = format!("{} {}", text("ce-source"), text("ce-id"));
    for pasted in [&key, &format!("key=\"{key}\""), &text("ce-id")] {
        let page = find(pasted).await;
        let tree = part(&page, "story");
        assert!(tree.contains("good\">handled</span> crm-service"), "{pasted}: {tree}");
        assert!(tree.contains("Its type is not known"), "{pasted}: {tree}");
    }
    let page = find(&text("ce-correlationid")).await;
    let tree = part(&page, "story");
    assert!(tree.contains("POST /users") && tree.contains("good\">handled</span> crm-service"), "{tree}");
    assert!(!page.contains("ada@private.example"));
    assert!(find("//pushbox/user-service unknown").await.contains("each service rejected it"));
    assert!(find("x").await.contains("No receipt"));
}

#[tokio::test]
async fn a_log_line_finds_the_services_that_did_not_handle_the_event() {
    let world = World::start(false, "acme").await;
    let page = world.with_letter().await;
    let (attributes, _) = world.event().await;
    let key =
        format!("{} {}", attributes["ce-source"].as_str().unwrap(), attributes["ce-id"].as_str().unwrap());
    let line = format!("delivery: handled eventType=user.created key={key} messageId=7 attempt=1");
    until("the other service has handled it", async || {
        let page = world.found(&line).await;
        let tree = part(&page, "story");
        (tree.contains("user.created")
            && tree.contains("good\">handled</span> welcome-service")
            && tree.contains("not handled</span> crm-service")
            && !tree.contains("type is not known"))
        .then_some(())
    })
    .await;
    let link = &page[page.find("/_local/events?key=").unwrap()..];
    let page = world.page(&link[..link.find('"').unwrap()]).await;
    let tree = part(&page, "story");
    assert!(tree.contains("POST /users") && tree.contains("not handled</span> crm-service"), "{tree}");
}

#[tokio::test]
async fn the_events_that_an_event_caused_lead_to_the_beginning_of_its_story() {
    let world = World::start(false, "acme").await;
    world.sign_up("user-1", "Grace").await;
    let cause = until("the second event is there", async || {
        let (attributes, _) = world.event().await;
        (attributes["ce-type"] == "user.welcomed")
            .then(|| attributes["ce-causationid"].as_str().unwrap().to_owned())
    })
    .await;
    let page = world.found(&cause).await;
    assert!(part(&page, "story").contains("POST /users"), "{page}");
}

#[tokio::test]
async fn letters_are_masked_until_a_person_asks_and_a_reader_cannot_replay_them() {
    let world = World::start(false, "acme").await;
    let page = world.with_letter().await;
    assert!(page.contains("the mapping has no field") && page.contains("rejected"), "{page}");
    assert!(
        !page.contains("ada@private.example") && !page.contains("action=\"/_local/dead-letters/replay\""),
        "{page}"
    );
    assert!(page.contains("replay --group") && !page.contains("drop --group"), "{page}");
    let link = world.unmask_link().await;
    assert!(world.page(&link).await.contains("ada@private.example"));
    let (status, answer) = world.act("/_local/dead-letters/look", &[("x", "1")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert!(answer.contains("This action takes no fields."), "{answer}");
    world.act("/_local/dead-letters/look", &[]).await;
    assert!(!world.page(&link).await.contains("ada@private.example"), "the next look is masked again");
    let replay = [("service", "crm-service"), ("letter", "1")];
    let (status, answer) = world.act("/_local/dead-letters/replay", &replay).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer.contains("--allow-replay"), "{answer}");
    let request = world.client.post(format!("{}/_local/dead-letters/look", world.console));
    let answer = request.header(ORIGIN, "http://evil.example").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "another site cannot act");
}

#[tokio::test]
async fn an_interrupted_look_gives_the_letters_back() {
    let world = World::start(false, "acme").await;
    world.with_letter().await;
    let pulled = || world.holders.pulled.load(Ordering::Relaxed);
    let before = pulled();
    let look = world.client.post(format!("{}/_local/dead-letters/look", world.console)).send();
    let look = tokio::spawn(look);
    until("the look holds the letter", async || (pulled() > before).then_some(())).await;
    look.abort();
    until("the letter is back", async || {
        let (_, answer) = world.act("/_local/dead-letters/look", &[]).await;
        answer.contains("one dead letter that nobody else holds").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_empty_look_says_what_it_cannot_see() {
    let world = World::start(false, "acme").await;
    let (_, answer) = world.act("/_local/dead-letters/look", &[]).await;
    assert!(answer.contains("another process holds"), "{answer}");
    assert!(world.page("/_local/dead-letters").await.contains("No letters to see"));
}

#[tokio::test]
async fn a_replayed_group_has_a_verdict() {
    let world = World::start(true, "acme").await;
    let page = world.with_letter().await;
    assert!(page.contains("drop --group"), "{page}");
    let group = group_in(&page);
    let page = world.replay(group).await;
    assert!(page.contains("1 came back") && page.contains("the mapping has no field"), "{page}");
    world.is_broken.store(false, Ordering::Relaxed);
    let page = world.replay(group).await;
    assert!(page.contains("good\">1 handled"), "{page}");
    assert!(world.replay(group).await.contains("another process holds them"), "there is no letter any more");
    for wrong in [
        &[("group", group)][..],
        &[("service", "crm-service")],
        &[("service", "crm-service"), ("all", "on")],
        &[("service", "nobody"), ("group", group)],
    ] {
        let (status, answer) = world.act("/_local/dead-letters/replay", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    }
}

#[tokio::test]
async fn the_look_stays_after_a_replay_and_marks_what_was_replayed() {
    let world = World::start(true, "acme").await;
    let page = world.with_letter().await;
    assert!(!part(&page, "letters").contains("replayed"), "{page}");
    assert!(part(&page, "navigation").contains("bad\">1<"), "{page}");
    world.is_broken.store(false, Ordering::Relaxed);
    world.replay(group_in(&page)).await;
    let page = world.page("/_local/dead-letters").await;
    assert!(part(&page, "letters").contains("accent\">replayed"), "{page}");
    assert!(!part(&page, "navigation").contains("count bad"), "{page}");
}

#[tokio::test]
async fn a_service_has_one_replay_at_a_time() {
    let world = World::start(true, "acme").await;
    let page = world.with_letter().await;
    world.switch("stop").await;
    let fields = [("service", "crm-service"), ("group", group_in(&page))];
    let (status, answer) = world.act("/_local/dead-letters/replay", &fields).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (status, answer) = world.act("/_local/dead-letters/replay", &fields).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(answer.contains("still runs"), "{answer}");
}

#[tokio::test]
async fn a_letter_whose_receipt_cannot_be_read_is_not_replayed() {
    let world = World::start(true, "acme").await;
    let page = world.with_letter().await;
    world.has_receipt(&json!({ "state": "unknown" })).await;
    let page = world.replay(group_in(&page)).await;
    assert!(
        page.contains("bad\">1 with an unreadable receipt")
            && page.contains("1 letter is left out: its receipt in Firestore"),
        "{page}"
    );
    assert!(!part(&world.page("/_local/dead-letters").await, "letters").contains("replayed"));
}

#[tokio::test]
async fn a_page_of_many_and_large_letters_has_a_bound() {
    let world = World::start(false, "acme").await;
    world.is_broken.store(true, Ordering::Relaxed);
    let names = ('a'..='z').flat_map(|first| ['x', 'y'].map(|second| format!("{first}{second}")));
    for name in names {
        world.sign_up(&name, &name).await;
    }
    let fields: BTreeMap<String, u32> = (0..5000).map(|field| (format!("field_{field}"), field)).collect();
    for note in [json!("A".repeat(100_000)), json!(fields)] {
        let data = json!({ "event": "user.created", "note": note }).to_string();
        let messages = json!({ "messages": [{ "data": STANDARD.encode(data) }] });
        let topic = format!("{}/v1/projects/local/topics/user-events:publish", world.stack);
        let published = world.client.post(topic).json(&messages).send().await.unwrap();
        assert_eq!(published.status(), StatusCode::OK);
    }
    until("all letters are there", async || {
        let (_, answer) = world.act("/_local/dead-letters/look", &[]).await;
        answer.contains("There are 56 dead letters").then_some(())
    })
    .await;
    let page = world.page(&world.unmask_link().await).await;
    assert_eq!(page.matches("<article").count(), 50);
    assert!(page.contains("And 4 smaller groups"), "{}", &page[page.len() - 3_000..]);
    assert!(page.contains("82 KiB more") && page.contains(" --unmask --project local"));
    let masked = world.page("/_local/dead-letters").await;
    assert!(masked.contains("76 KiB more"), "the masked data of a letter with 5,000 fields");
    assert!(page.len() < 500_000, "{}", page.len());
}

#[tokio::test]
async fn a_call_that_may_have_been_made_long_ago_is_left_to_the_command_line() {
    let world = World::start(true, "acme").await;
    let page = world.with_letter().await;
    world.claimed_long_ago().await;
    let page = world.replay(group_in(&page)).await;
    assert!(page.contains("more than 24 hours ago") && page.contains("0 handled"), "{page}");
    let (status, answer) = world.act("/_local/dead-letters/look", &[]).await;
    assert!(answer.contains("one dead letter that nobody else holds"), "{status} {answer}");
}
