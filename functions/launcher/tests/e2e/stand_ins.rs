//! A real SMTP server, and a server with Stripe's HTTP API, instead of the local fakes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use reqwest::Client;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    emulators::Message,
    harness::{Process, eventually, free_port},
    world::World,
};

const STRIPE_KEY: &str = "sk_test_12345";
const EVENT: &str =
    r#"{"event":"user.created","userId":"ann-1","email":"ann@example.com","name":"Ann Example"}"#;

#[tokio::test]
async fn one_mail_by_smtp_and_one_charge_at_stripe() {
    let smtp = Smtp::start().await;
    let stripe = Stripe::start().await;
    let world = World::plan("stand-ins")
        .services(&["email-service", "billing-service"])
        .variable("MAIL_URL", format!("smtp://127.0.0.1:{}", smtp.port))
        .variable("MAIL_FROM", "Shop <shop@example.com>")
        .variable("STRIPE_SECRET_KEY", STRIPE_KEY)
        .variable("STRIPE_API_BASE", format!("http://127.0.0.1:{}", stripe.port))
        .start()
        .await;
    world.start_with("billing-service", &[("FAULT_POINT", "performed")]).await;

    let mut event = Message::new(EVENT);
    for (name, value) in
        [("ce-id", "1"), ("ce-source", "//pushbox/user-service"), ("ce-type", "user.created")]
    {
        event.attributes.insert(name.to_owned(), value.to_owned());
    }
    world.pubsub.publish(&event).await;
    // The process dies between the charge and its record.
    world.logged("billing-service", "fault point performed reached").await;
    world.start_service("billing-service").await;
    for service in ["email-service", "billing-service"] {
        world.delivered(service, "handled", 1).await;
    }
    world.pubsub.publish(&event).await;
    for service in ["email-service", "billing-service"] {
        world.delivered(service, "duplicate", 1).await;
    }

    let mails = smtp.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    for expected in
        ["To: ann@example.com", "Subject: Welcome, Ann Example", "Hello Ann Example", "<p>Hello Ann Example"]
    {
        assert!(mails[0].contains(expected), "{expected:?} is not in {}", mails[0]);
    }
    let keys = stripe.keys();
    assert_eq!(keys.len(), 2, "the charge was not repeated: {keys:?}");
    assert!(!keys[0].is_empty() && keys[0] == keys[1], "{keys:?}");
    let intents = stripe.intents().await;
    assert_eq!(intents.len(), 1, "{intents:?}");
    assert_eq!(
        (&intents[0]["status"], &intents[0]["amount"]),
        (&"succeeded".into(), &1000.into()),
        "{intents:?}"
    );
    let charge = world.get_json("billing-service", "/charges/ann-1").await.expect("a charge");
    assert_eq!((&charge["status"], &charge["id"]), (&"paid".into(), &intents[0]["id"]), "{charge}");
}

/// aiosmtpd, which stores mails in a folder.
struct Smtp {
    port: u16,
    mails: PathBuf,
    _process: Process,
}

impl Smtp {
    async fn start() -> Self {
        let port = free_port();
        let mails = folder(&format!("smtp-{port}"));
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(python("python"));
        command
            .args(["-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Mailbox", "-l", &address])
            .arg(mails.join("mails"));
        let process = Process::spawn(&mut command, mails.join("output"));
        wait_for_listener(&address).await;
        Self { port, mails: mails.join("mails/new"), _process: process }
    }

    fn mails(&self) -> Vec<String> {
        let files = fs::read_dir(&self.mails).expect("a folder of mails");
        files.map(|file| fs::read_to_string(file.expect("a mail").path()).expect("a mail is text")).collect()
    }
}

/// localstripe, behind a front that adds idempotency: it repeats the first answer to an `Idempotency-Key`.
struct Stripe {
    port: u16,
    front: Arc<Front>,
    _process: Process,
}

struct Front {
    http: Client,
    intents: String,
    keys: Mutex<Vec<String>>,
    answers: tokio::sync::Mutex<BTreeMap<String, (StatusCode, Bytes)>>,
}

impl Stripe {
    async fn start() -> Self {
        let backend_port = free_port();
        let mut command = Command::new(python("localstripe"));
        command.args(["--from-scratch", "--port", &backend_port.to_string()]);
        let process = Process::spawn(&mut command, folder(&format!("stripe-{backend_port}")).join("output"));
        wait_for_listener(&format!("127.0.0.1:{backend_port}")).await;
        let front = Arc::new(Front {
            http: Client::builder().no_proxy().build().expect("an HTTP client"),
            intents: format!("http://127.0.0.1:{backend_port}/v1/payment_intents"),
            keys: Mutex::default(),
            answers: tokio::sync::Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let app = Router::new().route("/v1/payment_intents", post(create_intent)).with_state(front.clone());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { port, front, _process: process }
    }

    /// The idempotency key of each request.
    fn keys(&self) -> Vec<String> {
        self.front.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The payment intents at localstripe.
    async fn intents(&self) -> Vec<Value> {
        let request = self.front.http.get(&self.front.intents).bearer_auth(STRIPE_KEY);
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        answer["data"].as_array().cloned().unwrap_or_default()
    }
}

async fn create_intent(State(front): State<Arc<Front>>, headers: HeaderMap, body: Bytes) -> Response {
    let header =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let key = header("idempotency-key");
    front.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
    let mut answers = front.answers.lock().await;
    if !answers.contains_key(&key) {
        let request = front.http.post(&front.intents).body(body);
        let request = request.header(CONTENT_TYPE, header("content-type"));
        let answer = request
            .header("authorization", header("authorization"))
            .send()
            .await
            .expect("localstripe answers");
        let answer = (answer.status(), answer.bytes().await.expect("an answer"));
        answers.insert(key.clone(), answer);
    }
    answers[&key].clone().into_response()
}

/// A program that `scripts/test` installs from PyPI.
fn python(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin").join(program);
    assert!(path.exists(), "{} is missing; scripts/test installs it", path.display());
    path
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // An earlier run may have left it.
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder");
    path
}

async fn wait_for_listener(address: &str) {
    eventually(&format!("something listens on {address}"), async || {
        tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())
    })
    .await;
}
