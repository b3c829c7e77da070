//! People sign up, sign in and sign out, as browsers see it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use effects::{mail::Mailer, payments::Gateway};
use jiff::Timestamp;
use pushbox::{
    AccessTokens, Clock, Message, Origins, Ports, PushAuth, Random,
    publisher::{PublishError, Publisher},
    store::{Memory, Query, Store},
};
use serde_json::{Value, json};
use ticketing::{Auth, Hashing, SigningKey};
use tokio::time::{Duration, advance};
use tower::ServiceExt;

const ISSUER: &str = "https://auth.example.com";
/// The origin of pages that may sign people in.
const SHOP: &str = "https://shop.example";
const PASSWORD: &str = "correct horse battery staple";
const ANN: &str = "ann@example.com";

/// Cheap, because these tests sign in often.
const CHEAP: Hashing = Hashing { memory_kib: 8, passes: 1, threads: 2, places: 16 };

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Keeps what is published.
#[derive(Default)]
struct Published(Mutex<Vec<Message>>);

#[async_trait]
impl Publisher for Published {
    async fn publish(&self, message: Message) -> Result<String, PublishError> {
        self.0.lock().expect("a lock").push(message);
        Ok("1".to_owned())
    }
}

/// auth-service with its documents and events.
struct World {
    store: Arc<Memory>,
    published: Arc<Published>,
    clock: Clock,
    hashing: Hashing,
}

impl World {
    fn new() -> Self {
        let start: Timestamp = "2026-11-20T12:00:00Z".parse().expect("a time");
        let clock = Clock::following_tokio(start);
        let store = Arc::new(Memory::new(clock.clone()));
        Self { store, published: Arc::default(), clock, hashing: CHEAP }
    }

    /// A process that signs with the first of these keys and accepts all of them.
    fn start(&self, keys: &[&SigningKey]) -> Router {
        let jwks = SigningKey::public_keys(keys);
        let access_tokens = AccessTokens::new(ISSUER, ticketing::NAME, &jwks).expect("keys");
        let mut ports = Ports::new(self.store.clone(), self.published.clone());
        (ports.clock, ports.access_tokens) = (self.clock.clone(), access_tokens.clone());
        let origins: Option<Origins> = SHOP.parse().ok();
        let auth = Auth {
            issuer: ISSUER.to_owned(),
            signing_key: keys[0].clone(),
            access_tokens,
            origins: origins.clone(),
            trusted_proxies: 0,
            hashing: self.hashing,
            clock: self.clock.clone(),
            random: Random::system(),
        };
        let system = ticketing::system(ticketing::Config {
            auth,
            ticket_lock_minutes: ticketing::TICKET_LOCK_MINUTES,
            ticket_refund_hours: ticketing::TICKET_REFUND_HOURS,
            gateway: Gateway::local(self.store.clone(), self.clock.clone()),
            mailer: Mailer::local(self.store.clone(), self.clock.clone()),
        });
        let service = system.services.into_iter().find(|service| service.name() == "auth-service");
        service.expect("auth-service").allow_origins(origins).app(ports, PushAuth::None)
    }

    /// The types and the data of the events so far, each once: a repeated request may publish an event again.
    fn events(&self) -> Vec<(String, Value)> {
        let published = self.published.0.lock().expect("a lock");
        let mut seen = BTreeSet::new();
        let event = |message: &Message| {
            (message.attributes["ce-type"].clone(), serde_json::from_slice(&message.data).expect("JSON"))
        };
        published.iter().filter(|message| seen.insert(&message.attributes["ce-id"])).map(event).collect()
    }

    fn revocations(&self) -> Vec<Value> {
        let is_revocation =
            |(name, data): (String, Value)| (name == "session.revoked").then(|| data["reason"].clone());
        self.events().into_iter().filter_map(is_revocation).collect()
    }

    /// Every document as text.
    async fn all_documents(&self) -> String {
        let mut all = String::new();
        for collection in ["accounts", "users", "sessions", "throttles", "familiar", "receipts"] {
            let collection = format!("services/auth-service/{collection}");
            let query = Query { collection, limit: 1000, ..Query::default() };
            for stored in self.store.list(&query).await.expect("a list") {
                all += &format!("{} {}\n", stored.id, Value::Object(stored.fields));
            }
        }
        all
    }
}

fn key() -> SigningKey {
    SigningKey::generate().expect("a key")
}

/// A browser: it keeps its cookie, also from an answer to a page of another origin if the answer allows that.
#[derive(Clone)]
struct Browser {
    app: Router,
    cookie: Option<String>,
    address: Option<&'static str>,
    /// The origin of the page, if it is another one than the service's.
    page: Option<&'static str>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Browser {
    fn of(app: &Router) -> Self {
        Self { app: app.clone(), cookie: None, address: None, page: None }
    }

    fn at(app: &Router, address: &'static str) -> Self {
        Self { address: Some(address), ..Self::of(app) }
    }

    async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "auth.example.com");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("theme=dark; __Host-session={cookie}"));
        }
        if let Some(address) = self.address {
            request = request.header("x-forwarded-for", format!("198.51.100.1, {address}"));
        }
        if let Some(page) = self.page {
            request = request.header("origin", page);
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::from(body)).expect("a request");
        let response = self.app.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body");
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        let keeps = self.page.is_none_or(|page| answer.lets_keep_cookies(page));
        if let Some(value) = answer.header("set-cookie").strip_prefix("__Host-session=").filter(|_| keeps) {
            let value = value.split(';').next().unwrap_or_default();
            self.cookie = (!value.is_empty()).then(|| value.to_owned());
        }
        answer
    }

    async fn enter(&mut self, path: &str, email: &str, password: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, path, headers, json!({ "email": email, "password": password }).to_string())
            .await
    }

    async fn sign_up(&mut self, email: &str) -> Answer {
        let answer = self.enter("/signup", email, PASSWORD, &[]).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        answer
    }

    async fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        self.enter("/signin", email, password, &[]).await
    }

    async fn refresh(&mut self) -> Answer {
        self.send(Method::POST, "/refresh", &[], String::new()).await
    }

    async fn sign_out(&mut self) -> Answer {
        self.send(Method::POST, "/signout", &[], String::new()).await
    }

    async fn sign_out_with(&mut self, token: &Value) -> Answer {
        let bearer = format!("Bearer {}", token.as_str().unwrap_or_default());
        self.send(Method::POST, "/signout", &[("authorization", &bearer)], String::new()).await
    }

    async fn me(&mut self, token: &Value) -> Answer {
        let bearer = format!("Bearer {}", token.as_str().unwrap_or_default());
        self.send(Method::GET, "/me", &[("authorization", &bearer)], String::new()).await
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether a browser keeps and sends cookies for a page of this origin.
    fn lets_keep_cookies(&self, page: &str) -> bool {
        self.header("access-control-allow-origin") == page
            && self.header("access-control-allow-credentials") == "true"
    }

    /// The pointers of the wrong fields.
    fn wrong_fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["pointer"].as_str()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_signs_up_refreshes_and_signs_out() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    let mut ann = Browser::of(&app);
    let up = ann.sign_up(" Ann@Example.com ").await;
    assert_eq!((&up.body["expiresIn"], up.header("cache-control")), (&json!(300), "no-store"));
    let cookie = up.header("set-cookie");
    for part in ["__Host-session=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let me = ann.me(&up.body["accessToken"]).await;
    assert_eq!(
        (me.status.as_u16(), &me.body["email"], &me.body["userId"]),
        (200, &json!(ANN), &up.body["userId"])
    );

    let first = ann.cookie.clone();
    advance(HOUR).await;
    assert_eq!(ann.me(&up.body["accessToken"]).await.status, 401, "the token has expired");
    let refreshed = ann.refresh().await;
    assert_eq!((refreshed.status.as_u16(), &refreshed.body["userId"]), (200, &up.body["userId"]));
    assert_ne!(ann.cookie, first);
    assert_eq!(ann.me(&refreshed.body["accessToken"]).await.status, 200);

    let out = ann.sign_out().await;
    assert_eq!((out.status.as_u16(), &ann.cookie), (204, &None));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(ann.me(&refreshed.body["accessToken"]).await.status, 401, "the session has ended");
    assert_eq!(ann.refresh().await.status, 401);
    assert_eq!(ann.sign_out().await.status, 204, "it is done already");
    let user = up.body["userId"].clone();
    let events = world.events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["account.created", "session.revoked"]);
    assert_eq!((&events[0].1["userId"], &events[0].1["email"]), (&user, &json!(ANN)));
    assert_eq!((&events[1].1["userId"], &events[1].1["reason"]), (&user, &json!("signedOut")));
}

#[tokio::test(start_paused = true)]
async fn names_every_wrong_field() {
    let key = key();
    let app = World::new().start(&[&key]);
    Browser::of(&app).sign_up(ANN).await;
    for (path, email, password, status, fields) in [
        ("/signup", "ann", "short", 422, vec!["#/email", "#/password"]),
        ("/signup", "bob@example.com", "password", 422, vec!["#/password"]),
        ("/signup", "bob@example.com", "Bob@example.com", 422, vec!["#/password"]),
        ("/signup", "bob", PASSWORD, 422, vec!["#/email"]),
        ("/signup", "\"a b\"@example.com", PASSWORD, 422, vec!["#/email"]),
        ("/signup", "bob@127.0.0.1", PASSWORD, 422, vec!["#/email"]),
        ("/signup", "ANN@example.com", PASSWORD, 409, vec![]),
        ("/signin", "ann", "", 422, vec!["#/email", "#/password"]),
        ("/signin", ANN, "password", 401, vec![]),
        ("/signin", "nobody@example.com", PASSWORD, 401, vec![]),
        ("/signin", "ANN@example.com", PASSWORD, 200, vec![]),
    ] {
        let answer = Browser::of(&app).enter(path, email, password, &[]).await;
        let case = format!("{path} {email} {password}: {:?}", answer.body);
        assert_eq!((answer.status.as_u16(), answer.wrong_fields()), (status, fields), "{case}");
        assert_eq!(answer.headers.contains_key("set-cookie"), status == 200, "{case}");
        assert_eq!(answer.header("content-type") == "application/problem+json", status != 200, "{case}");
    }
    let empty = Browser::of(&app).send(Method::POST, "/signin", &[], String::new()).await;
    assert_eq!((empty.status.as_u16(), empty.wrong_fields()), (422, vec!["#/email", "#/password"]));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let key = key();
    let app = World::new().start(&[&key]);
    Browser::of(&app).sign_up(ANN).await;
    // As long as attempts are free, and when they are throttled.
    for attempt in 0..10 {
        let wrong = Browser::of(&app).sign_in(ANN, "wrong password").await;
        let unknown = Browser::of(&app).sign_in("nobody@example.com", "wrong password").await;
        assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body), "attempt {attempt}");
        assert_eq!(wrong.status, if attempt < 5 { 401 } else { 429 }, "attempt {attempt}");
        assert_eq!(wrong.header("retry-after"), unknown.header("retry-after"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_doubles_up_to_its_limit_and_nobody_is_locked_out() {
    let key = key();
    let app = World::new().start(&[&key]);
    Browser::of(&app).sign_up(ANN).await;
    let mut waits = Vec::new();
    let mut guesses = 0;
    while waits.len() < 9 {
        let answer = Browser::of(&app).sign_in(ANN, "a guess").await;
        if answer.status == 401 {
            guesses += 1;
            continue;
        }
        assert_eq!(answer.status, 429);
        let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
        waits.push(seconds);
        // The right password does not help before the time.
        assert_eq!(Browser::of(&app).sign_in(ANN, PASSWORD).await.status, 429);
        advance(Duration::from_secs(seconds)).await;
    }
    assert_eq!((guesses, waits), (5 + 8, vec![1, 2, 4, 8, 16, 32, 60, 60, 60]));
    // The owner gets in, and begins with a clean count.
    assert_eq!(Browser::of(&app).sign_in(ANN, PASSWORD).await.status, 200);
    assert_eq!(Browser::of(&app).sign_in(ANN, "a typo").await.status, 401);
    assert_eq!(Browser::of(&app).sign_in(ANN, PASSWORD).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn guesses_from_elsewhere_do_not_delay_the_owner() {
    let key = key();
    let app = World::new().start(&[&key]);
    Browser::at(&app, "203.0.113.7").sign_up(ANN).await;
    for _ in 0..7 {
        Browser::at(&app, "192.0.2.66").sign_in(ANN, "a guess").await;
    }
    for (address, status) in [
        ("192.0.2.66", 429),
        ("198.18.0.9", 429),
        // Another address of the same network.
        ("203.0.113.200", 200),
        ("203.0.113.7", 200),
    ] {
        assert_eq!(Browser::at(&app, address).sign_in(ANN, PASSWORD).await.status, status, "{address}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_network_cannot_guess_the_passwords_of_many_accounts() {
    let key = key();
    let app = World::new().start(&[&key]);
    Browser::of(&app).sign_up(ANN).await;
    for guess in 0..30 {
        let email = format!("user-{guess}@example.com");
        assert_eq!(Browser::at(&app, "192.0.2.66").sign_in(&email, PASSWORD).await.status, 401, "{guess}");
    }
    for (address, status) in [("192.0.2.66", 429), ("192.0.2.1", 429), ("203.0.113.7", 200)] {
        assert_eq!(Browser::at(&app, address).sign_in(ANN, PASSWORD).await.status, status, "{address}");
    }
}

/// Successes of many people in one network do not add up.
#[tokio::test(start_paused = true)]
async fn successful_sign_ins_are_not_throttled() {
    let key = key();
    let app = World::new().start(&[&key]);
    Browser::of(&app).sign_up(ANN).await;
    for attempt in 0..40 {
        assert_eq!(Browser::at(&app, "203.0.113.7").sign_in(ANN, PASSWORD).await.status, 200, "{attempt}");
    }
}

/// Guesses at many accounts from the network of an office, until they are delayed longest.
async fn exhaust(app: &Router, address: &'static str) {
    let mut guesser = Browser::at(app, address);
    for guess in 0..40 {
        let email = format!("user-{guess}@example.com");
        let mut answer = guesser.sign_in(&email, PASSWORD).await;
        if let Ok(seconds) = answer.header("retry-after").parse() {
            advance(Duration::from_secs(seconds)).await;
            answer = guesser.sign_in(&email, PASSWORD).await;
        }
        assert_eq!(answer.status, 401, "{guess}");
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_in_a_network_do_not_delay_the_people_who_are_familiar_there() {
    let key = key();
    let app = World::new().start(&[&key]);
    let (ann, bob) = (ANN, "bob@example.com");
    for person in [ann, bob] {
        Browser::at(&app, "203.0.113.7").sign_up(person).await;
    }
    Browser::at(&app, "198.18.0.9").sign_up("carl@example.com").await;
    exhaust(&app, "203.0.113.66").await;
    for (person, status) in [(ann, 200), (bob, 200), ("carl@example.com", 429), (ann, 200)] {
        let answer = Browser::at(&app, "203.0.113.8").sign_in(person, PASSWORD).await;
        assert_eq!(answer.status, status, "{person}: {:?}", answer.body);
        advance(Duration::from_secs(1)).await;
    }
    // Their own count still limits guesses at their passwords.
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(Browser::at(&app, "203.0.113.66").sign_in(bob, "a guess").await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
}

#[tokio::test(start_paused = true)]
async fn a_network_recovers_while_people_sign_in() {
    let key = key();
    let app = World::new().start(&[&key]);
    let people: Vec<String> = (0..32).map(|number| format!("person-{number}@example.com")).collect();
    for person in &people {
        Browser::of(&app).sign_up(person).await;
    }
    exhaust(&app, "203.0.113.66").await;
    let refused = Browser::at(&app, "203.0.113.8").sign_in(&people[0], PASSWORD).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "120"));
    advance(Duration::from_secs(120)).await;
    // Nobody is familiar here. A success does not begin the delay anew.
    for person in &people {
        let answer = Browser::at(&app, "203.0.113.8").sign_in(person, PASSWORD).await;
        assert_eq!(answer.status, 200, "{person}: {:?}", answer.body);
        advance(Duration::from_secs(1)).await;
    }
    // 50 minutes after the last guess, 25 of the 37 attempts that count are forgotten, so 18 are free.
    advance(Duration::from_secs(50 * 60 - 120 - 32)).await;
    let mut statuses = Vec::new();
    for guess in 0..20 {
        let email = format!("another-{guess}@example.com");
        statuses.push(Browser::at(&app, "203.0.113.66").sign_in(&email, PASSWORD).await.status.as_u16());
    }
    assert_eq!(statuses, [[401; 18].as_slice(), &[429, 429]].concat());
}

/// Whoever is refused costs neither a hash nor a place for one.
#[tokio::test(start_paused = true)]
async fn a_throttled_attempt_takes_no_place() {
    let key = key();
    let world = World::new();
    let app = world.start(&[&key]);
    exhaust(&app, "203.0.113.66").await;
    let before = world.all_documents().await;
    let full = World { hashing: Hashing { places: 0, ..CHEAP }, ..world };
    let app = full.start(&[&key]);
    let mut newcomer = Browser::at(&app, "203.0.113.66");
    assert_eq!(newcomer.enter("/signup", "new@example.com", PASSWORD, &[]).await.status, 429);
    assert_eq!(newcomer.sign_in("new@example.com", PASSWORD).await.status, 429);
    assert_eq!(Browser::of(&app).sign_in("new@example.com", PASSWORD).await.status, 503);
    assert_eq!(full.all_documents().await, before);
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_a_free_place_answers_503() {
    let key = key();
    let world = World { hashing: Hashing { places: 0, ..CHEAP }, ..World::new() };
    let app = world.start(&[&key]);
    for path in ["/signup", "/signin"] {
        let answer = Browser::of(&app).enter(path, ANN, PASSWORD, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "2"), "{path}");
    }
    assert_eq!(world.all_documents().await, "", "nothing is counted");
}

#[tokio::test(start_paused = true)]
async fn a_copied_cookie_ends_the_session_when_both_have_used_it() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    for (thief_is_first, pause) in [(true, HOUR), (false, HOUR), (true, Duration::from_secs(61))] {
        let mut ann = Browser::of(&app);
        ann.sign_up(&format!("ann-{thief_is_first}-{}@example.com", pause.as_secs())).await;
        let mut thief = ann.clone();
        let (first, second) = if thief_is_first { (&mut thief, &mut ann) } else { (&mut ann, &mut thief) };
        let stolen = first.refresh().await;
        assert_eq!(stolen.status, 200);
        advance(pause).await;
        let again = second.refresh().await;
        assert_eq!((again.status.as_u16(), &second.cookie), (401, &None), "the second use of a value");
        // Neither has a session now.
        assert_eq!(first.refresh().await.status, 401);
        assert_eq!(first.me(&stolen.body["accessToken"]).await.status, 401);
    }
    assert_eq!(world.revocations(), ["reused"; 3]);
}

/// The answer to a refresh is lost, or two pages refresh at the same time.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_signs_nobody_out() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    // With an idempotency key the repeat may come at any time, otherwise within a minute.
    for (idempotency_key, pause) in [(None, 59), (Some("refresh-1"), 3 * 24 * 60 * 60)] {
        let mut ann = Browser::of(&app);
        ann.sign_up(&format!("ann-{pause}@example.com")).await;
        let headers: Vec<_> = idempotency_key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let mut lost = ann.clone();
        assert_eq!(lost.send(Method::POST, "/refresh", &headers, String::new()).await.status, 200);
        advance(Duration::from_secs(pause)).await;
        let again = ann.send(Method::POST, "/refresh", &headers, String::new()).await;
        assert_eq!((again.status.as_u16(), &ann.cookie), (200, &lost.cookie), "the same successor");
        assert_eq!(ann.me(&again.body["accessToken"]).await.status, 200);
        assert_eq!(ann.refresh().await.status, 200);
    }
    assert_eq!(world.revocations(), Vec::<Value>::new());
}

/// The browser has the new cookie, and the page has no access token.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_cut_after_its_headers_is_repeated_with_a_new_key() {
    let (world, key) = (World::new(), key());
    let mut ann = Browser::of(&world.start(&[&key]));
    ann.sign_up(ANN).await;
    let mut statuses = Vec::new();
    for key in ["refresh-1", "refresh-1", "refresh-2"] {
        let headers = [("idempotency-key", key)];
        statuses.push(ann.send(Method::POST, "/refresh", &headers, String::new()).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 422, 200]);
    assert_eq!(world.revocations(), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_after_a_week_without_use_and_after_30_days() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let key = key();
    for (rhythm, last_good_day) in [(7, 0), (6, 24), (1, 29)] {
        let app = World::new().start(&[&key]);
        let mut ann = Browser::of(&app);
        ann.sign_up(ANN).await;
        let mut day = 0;
        loop {
            advance(DAY * rhythm).await;
            if ann.refresh().await.status != 200 {
                break;
            }
            day += rhythm;
        }
        assert_eq!(day, last_good_day, "a refresh each {rhythm} days");
    }
}

#[tokio::test(start_paused = true)]
async fn cookies_that_are_made_up_end_nothing() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    let mut ann = Browser::of(&app);
    ann.sign_up(ANN).await;
    ann.refresh().await;
    let cookie = ann.cookie.clone().expect("a cookie");
    let [id, _, secret] = cookie.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    for made_up in [
        "x".to_owned(),
        format!("{id}.1.x"),
        format!("{id}.0.{secret}"),
        format!("{id}.2.{secret}"),
        format!("{id}.99999999999999999999.{secret}"),
        format!("other.1.{secret}"),
        format!("{cookie}.x"),
    ] {
        let mut guesser = Browser { cookie: Some(made_up.clone()), ..Browser::of(&app) };
        assert_eq!(guesser.refresh().await.status, 401, "{made_up}");
        assert_eq!(guesser.sign_out().await.status, 204, "{made_up}");
    }
    assert_eq!(ann.refresh().await.status, 200);
    assert_eq!(world.revocations(), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_ends_the_session_that_the_browser_had() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    let mut ann = Browser::of(&app);
    let before = ann.sign_up(ANN).await;
    let mut old = ann.clone();
    assert_eq!(ann.sign_in(ANN, PASSWORD).await.status, 200);
    assert_ne!(ann.cookie, old.cookie);
    assert_eq!(old.me(&before.body["accessToken"]).await.status, 401);
    assert_eq!(old.refresh().await.status, 401);
    // Another browser keeps its session.
    let mut phone = Browser::of(&app);
    assert_eq!(phone.sign_in(ANN, PASSWORD).await.status, 200);
    assert_eq!(ann.refresh().await.status, 200);
    assert_eq!(world.revocations(), ["replaced"]);
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_cannot_use_the_cookie() {
    let key = key();
    let app = World::new().start(&[&key]);
    let mut ann = Browser::of(&app);
    ann.sign_up(ANN).await;
    let body = json!({ "email": ANN, "password": PASSWORD }).to_string();
    for (origin, is_allowed) in [
        ("https://auth.example.com", true),
        ("https://shop.example", true),
        ("https://evil.example", false),
        ("http://auth.example.com", false),
        ("https://auth.example.com.evil.example", false),
        ("https://shop.auth.example.com", false),
        ("null", false),
    ] {
        for path in ["/refresh", "/signin", "/signup", "/signout"] {
            let mut visitor = ann.clone();
            let answer = visitor.send(Method::POST, path, &[("origin", origin)], body.clone()).await;
            assert_eq!(answer.status != 403, is_allowed, "{origin} {path}: {}", answer.status);
            if path == "/refresh" && is_allowed {
                ann = visitor;
            }
            if !is_allowed {
                assert_eq!(answer.header("set-cookie"), "", "{origin} {path}");
            } else if path == "/signout" {
                // The next origin needs a session again.
                assert_eq!(ann.sign_in(ANN, PASSWORD).await.status, 200);
            }
        }
    }
    assert_eq!(ann.refresh().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn pages_of_an_allowed_origin_have_a_session() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    let mut ann = Browser { page: Some(SHOP), ..Browser::of(&app) };
    for path in ["/signup", "/signin", "/refresh", "/signout"] {
        let asks = [
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,idempotency-key"),
        ];
        let preflight = ann.send(Method::OPTIONS, path, &asks, String::new()).await;
        assert!(preflight.lets_keep_cookies(SHOP), "{path}: {:?}", preflight.headers);
    }
    ann.sign_up(ANN).await;
    assert_eq!(ann.refresh().await.status, 200);
    let welcome = ann.sign_in(ANN, PASSWORD).await;
    assert_eq!(ann.sign_out().await.status, 204);
    assert_eq!(ann.cookie, None);
    assert_eq!(ann.me(&welcome.body["accessToken"]).await.status, 401);
    // Other pages have nothing, even if they guess the password.
    let mut evil = Browser { page: Some("https://evil.example"), ..Browser::of(&app) };
    let refused = evil.sign_in(ANN, PASSWORD).await;
    assert_eq!((refused.status.as_u16(), refused.lets_keep_cookies("https://evil.example")), (403, false));
    assert_eq!(world.revocations(), ["replaced", "signedOut"]);
}

/// Browsers keep no cookie for a page of another site.
#[tokio::test(start_paused = true)]
async fn an_access_token_signs_out() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    let mut ann = Browser::of(&app);
    let token = ann.sign_up(ANN).await.body["accessToken"].clone();
    let mut page = Browser { page: Some(SHOP), ..Browser::of(&app) };
    let bad = page.sign_out_with(&json!("made up")).await;
    assert_eq!(
        (bad.status.as_u16(), bad.header("www-authenticate")),
        (401, r#"Bearer error="invalid_token""#)
    );
    assert_eq!(ann.me(&token).await.status, 200);
    for _ in 0..2 {
        assert_eq!(page.sign_out_with(&token).await.status, 204);
        assert_eq!((ann.me(&token).await.status.as_u16(), ann.refresh().await.status.as_u16()), (401, 401));
    }
    assert_eq!(world.revocations(), ["signedOut"]);
    // Another session than the one of the cookie, and the same one.
    let mut bob = Browser::of(&app);
    let first = bob.sign_up("bob@example.com").await.body["accessToken"].clone();
    let mut phone = Browser::of(&app);
    let second = phone.sign_in("bob@example.com", PASSWORD).await.body["accessToken"].clone();
    assert_eq!(bob.sign_out_with(&second).await.status, 204);
    for (browser, token) in [(&mut bob, &first), (&mut phone, &second)] {
        assert_eq!(browser.me(token).await.status, 401);
    }
    let third = phone.sign_in("bob@example.com", PASSWORD).await.body["accessToken"].clone();
    assert_eq!(phone.sign_out_with(&third).await.status, 204);
    assert_eq!(world.revocations(), ["signedOut"; 4]);
    // A token that has expired does not matter if there is a cookie.
    let last = phone.sign_in("bob@example.com", PASSWORD).await.body["accessToken"].clone();
    advance(HOUR).await;
    assert_eq!(page.sign_out_with(&last).await.status, 401);
    assert_eq!(phone.sign_out_with(&last).await.status, 204);
    assert_eq!(world.revocations(), ["signedOut"; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_sign_up_or_sign_in_gets_the_same_session_but_only_with_the_password() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    let same = [("idempotency-key", "k")];
    for path in ["/signup", "/signin"] {
        let (mut first, mut again) = (Browser::of(&app), Browser::of(&app));
        let one = first.enter(path, ANN, PASSWORD, &same).await;
        let two = again.enter(path, ANN, PASSWORD, &same).await;
        assert_eq!((one.status, &one.body["userId"]), (two.status, &two.body["userId"]), "{path}");
        assert_eq!(first.cookie, again.cookie, "{path}");
        let stranger = Browser::of(&app).enter(path, ANN, "another password", &same).await;
        assert!(stranger.status.is_client_error(), "{path}: {}", stranger.status);
        assert_eq!(
            (stranger.header("set-cookie"), &stranger.body["accessToken"]),
            ("", &Value::Null),
            "{path}"
        );
        // A repeat does not revive a session.
        first.sign_out().await;
        let late = Browser::of(&app).enter(path, ANN, PASSWORD, &same).await;
        assert_eq!((late.status.as_u16(), late.header("set-cookie")), (401, ""), "{path}");
    }
    assert_eq!(world.events().iter().filter(|(name, _)| name == "account.created").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_document_and_no_event_holds_a_secret() {
    let (world, key) = (World::new(), key());
    let app = world.start(&[&key]);
    let mut ann = Browser::at(&app, "203.0.113.7");
    let mut secrets = vec![PASSWORD.to_owned(), "wrong password".to_owned(), "203.0.113".to_owned()];
    let mut note = |answer: &Answer, browser: &Browser| {
        secrets.extend(answer.body["accessToken"].as_str().map(str::to_owned));
        secrets
            .extend(browser.cookie.as_ref().and_then(|cookie| cookie.rsplit('.').next().map(str::to_owned)));
    };
    let up = ann.enter("/signup", ANN, PASSWORD, &[("idempotency-key", "k")]).await;
    note(&up, &ann);
    let refreshed = ann.send(Method::POST, "/refresh", &[("idempotency-key", "k")], String::new()).await;
    note(&refreshed, &ann);
    let again = ann.enter("/signin", ANN, PASSWORD, &[("idempotency-key", "k")]).await;
    note(&again, &ann);
    ann.sign_in(ANN, "wrong password").await;
    ann.sign_out().await;
    let kept = world.all_documents().await + &format!("{:?}", world.events());
    assert!(kept.contains(ANN) && kept.lines().count() > 8, "{kept}");
    for secret in &secrets {
        assert!(!kept.contains(secret.as_str()), "{secret} is in:\n{kept}");
    }
    assert_eq!(secrets.len(), 3 + 6);
    // Nor can a password be guessed from the fingerprint of its request.
    let plain = json!({ "email": ANN, "password": PASSWORD }).to_string();
    for route in ["POST /signup", "POST /signin"] {
        assert!(!kept.contains(&digest(&[route, &plain])), "{route}");
    }
}

/// The fingerprint that the runtime computes for other commands.
fn digest(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The steps of README.md, "Rotate the key".
#[tokio::test(start_paused = true)]
async fn a_key_rotation_signs_nobody_out() {
    let (world, old, new) = (World::new(), key(), key());
    let mut ann = Browser::of(&world.start(&[&old]));
    let first = ann.sign_up(ANN).await.body["accessToken"].clone();
    // 1. All services accept both keys.
    ann.app = world.start(&[&old, &new]);
    assert_eq!(ann.me(&first).await.status, 200);
    // 2. auth-service signs with the new one. Tokens of both are valid.
    ann.app = world.start(&[&new, &old]);
    let jwks = ann.send(Method::GET, "/.well-known/jwks.json", &[], String::new()).await.body;
    assert_eq!(jwks, json!({ "keys": [new.public_key(), old.public_key()] }));
    assert_eq!(ann.me(&first).await.status, 200);
    let refreshed = ann.refresh().await;
    assert_eq!(refreshed.status, 200, "the session outlives the key");
    let second = refreshed.body["accessToken"].clone();
    assert_eq!(ann.me(&second).await.status, 200);
    // 3. The old key is retired.
    ann.app = world.start(&[&new]);
    assert_eq!(ann.me(&first).await.status, 401);
    assert_eq!(ann.me(&second).await.status, 200);
    assert_eq!(ann.refresh().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_copied_cookie_is_found_after_a_key_rotation() {
    let (world, old, new) = (World::new(), key(), key());
    let mut ann = Browser::of(&world.start(&[&old, &new]));
    ann.sign_up(ANN).await;
    let mut thief = ann.clone();
    let rotated = world.start(&[&new, &old]);
    (ann.app, thief.app) = (rotated.clone(), rotated);
    assert_eq!(thief.refresh().await.status, 200);
    advance(Duration::from_secs(61)).await;
    assert_eq!(ann.refresh().await.status, 401);
    assert_eq!(thief.refresh().await.status, 401);
    assert_eq!(world.revocations(), ["reused"]);
}

#[tokio::test(start_paused = true)]
async fn two_pages_refresh_while_instances_with_both_keys_serve() {
    let (world, old, new) = (World::new(), key(), key());
    let (before, after) = (world.start(&[&old, &new]), world.start(&[&new, &old]));
    let mut first = Browser::of(&before);
    first.sign_up(ANN).await;
    let mut second = first.clone();
    first.app = after.clone();
    assert_eq!(first.refresh().await.status, 200);
    // An instance with the old key cannot make the new value, and must not make another one.
    assert_eq!(second.refresh().await.status, 503);
    second.app = after;
    assert_eq!(second.refresh().await.status, 200);
    assert_eq!(second.cookie, first.cookie);
}
