//! `functions local`: all services in one process, without a cloud or an emulator.

#[path = "local_stack/dead_letters.rs"]
mod dead_letters;
mod harness;

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    process::Command,
};

use axum::{Json, Router, http::Method};
use base64::{Engine, engine::general_purpose::STANDARD};
use harness::{FUNCTIONS, Process, eventually, expect, free_port, readme, start_local_stack};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const GCLOUD: (&str, &str) = ("gcloud", "https://cloud.google.com/sdk/docs/install");

/// Whether a program is installed. If not, the test is skipped with a note; in CI it fails.
fn has((program, download): (&str, &str)) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let in_ci = env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "{program} is missing: {download}");
        // Cargo hides the `println!` output of a test that passes.
        writeln!(io::stderr(), "skipped: {program} is missing: {download}").expect("standard error is open");
    }
    found
}

#[tokio::test]
async fn readme_commands_work_on_the_local_stack() {
    if !has(GCLOUD) {
        return;
    }
    let (url, _stack) = start_local_stack("readme", &[]).await;
    let printed = readme::follow(readme::Endpoints::local_stack(&url)).await;
    expect_samples(readme::SIGNUP, &printed);
}

/// The quoted words of the README's samples, without those with a digit or `…`, are printed in the same order.
fn expect_samples(marker: &str, printed: &str) {
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('"').skip(1).step_by(2)
    }
    let mut words = quoted(printed);
    for sample in readme::blocks(marker).into_iter().filter_map(|(_, sample)| sample) {
        for word in quoted(&sample).filter(|word| !word.contains(|c: char| c.is_ascii_digit() || c == '…'))
        {
            assert!(
                words.any(|printed| printed == word),
                "{word} of\n{sample}\nis not printed there:\n{printed}"
            );
        }
    }
}

/// A developer watches the messages of a topic.
#[tokio::test]
async fn gcloud_can_create_and_pull_a_subscription() {
    if !has(GCLOUD) {
        return;
    }
    let (url, _stack) = start_local_stack("gcloud", &[]).await;
    let gcloud = |arguments: &str| {
        let mut command = Command::new("gcloud");
        command.arg("pubsub").args(arguments.split(' '));
        command.env("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", format!("{url}/"));
        command.env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true").env("CLOUDSDK_CORE_PROJECT", "local");
        command.env("CLOUDSDK_CORE_DISABLE_PROMPTS", "true");
        command.env("CLOUDSDK_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/gcloud-watches"));
        let output = command.output().expect("gcloud runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gcloud pubsub {arguments}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for (arguments, expected) in [
        ("topics list --format=value(name)", "projects/local/topics/user-events"),
        ("topics describe user-events --format=value(name)", "projects/local/topics/user-events"),
        (
            "subscriptions describe crm-service-user-events --format=value(pushConfig.pushEndpoint)",
            "/crm-service/",
        ),
        ("subscriptions create mine --topic=user-events --retain-acked-messages", ""),
        ("subscriptions list --format=value(name)", "projects/local/subscriptions/mine"),
        ("topics publish user-events --message=hello", ""),
        ("subscriptions pull mine --auto-ack --format=value(message.data)", "hello"),
        ("subscriptions seek mine --time=2020-01-01T00:00:00Z", ""),
        ("subscriptions pull mine --format=value(message.data)", "hello"),
        ("subscriptions seek mine --time=2020-01-01T00:00:00Z", ""),
    ] {
        let printed = gcloud(arguments);
        assert!(printed.contains(expected), "gcloud pubsub {arguments}: {printed}");
    }
    let ack_id = gcloud("subscriptions pull mine --format=value(ackId)");
    assert!(!ack_id.is_empty(), "the seek makes the message due again");
    gcloud(&format!("subscriptions ack mine --ack-ids={ack_id}"));
    // If the message were still leased, this would make it due.
    gcloud(&format!("subscriptions modify-message-ack-deadline mine --ack-ids={ack_id} --ack-deadline=0"));
    assert_eq!(gcloud("subscriptions pull mine --format=value(message.data)"), "", "the message is acked");
    gcloud("subscriptions delete mine");
}

#[tokio::test]
async fn every_listed_route_exists() {
    let (url, _stack) = start_local_stack("routes", &[]).await;
    let client = Client::new();
    let state: Value = get(&client, &format!("{url}/_local/state")).await;
    let mut listed = BTreeSet::new();
    for service in state["services"].as_array().expect("services") {
        let name = service["name"].as_str().expect("a name");
        let list: Value = get(&client, &format!("{url}/{name}")).await;
        for route in list["routes"].as_array().expect("routes") {
            let (method, path) =
                (route["method"].as_str().expect("text"), route["path"].as_str().expect("text"));
            listed.insert(format!("{method} {path}"));
            let method = method.parse::<Method>().expect("a method");
            // The id that replaces a parameter does not exist.
            let answer = client.request(method, format!("{url}{}", path.replace(['{', '}'], "-")));
            let answer = answer.send().await.expect("an answer");
            let status = answer.status();
            let body = answer.text().await.expect("a body");
            let exists =
                status != StatusCode::METHOD_NOT_ALLOWED && !body.contains("There is nothing at this path");
            assert!(exists, "{route}: {status} {body}");
        }
    }
    for route in [
        "POST /user-service/users",
        "GET /user-service/users/{id}",
        "PUT /order-service/products/{sku}",
        "GET /log-service/logs",
        "POST /crm-service/",
        "POST /order-api/relay",
        "GET /cancel-service/healthz",
    ] {
        assert!(listed.contains(route), "{route} is not in {listed:?}");
    }
}

async fn get(client: &Client, url: &str) -> Value {
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    answer.expect("an answer").json().await.expect("JSON")
}

/// An address that the mail library refuses later would become a dead letter, and in the shop a charge without a mail.
#[tokio::test]
async fn an_address_that_no_mail_can_have_is_refused_at_the_edge() {
    let (url, _stack) = start_local_stack("addresses", &[]).await;
    let client = Client::new();
    for (address, expected) in [
        ("\"a b\"@example.com", StatusCode::UNPROCESSABLE_ENTITY),
        ("a@127.0.0.1", StatusCode::UNPROCESSABLE_ENTITY),
        ("a@0x7f.1", StatusCode::UNPROCESSABLE_ENTITY),
        ("a@example.com\r\nBcc: b@example.com", StatusCode::UNPROCESSABLE_ENTITY),
        ("ada@example.com", StatusCode::CREATED),
    ] {
        let user = json!({ "email": address, "name": "Ada" });
        let lines = json!([{ "sku": "teapot", "quantity": 1 }]);
        let order = json!({ "customerEmail": address, "lines": lines, "paymentMethod": "pm_card_visa" });
        let accepted = if expected.is_success() { StatusCode::ACCEPTED } else { expected };
        for (path, body, expected, field) in [
            ("user-service/users", user, expected, "/email"),
            ("order-api/orders", order, accepted, "/customerEmail"),
        ] {
            let answer = client.post(format!("{url}/{path}")).json(&body).send().await.expect("an answer");
            let status = answer.status();
            let body = answer.text().await.expect("a body");
            assert_eq!(status, expected, "{path} {address:?}: {body}");
            assert_eq!(body.contains(field), !expected.is_success(), "{path} {address:?}: {body}");
        }
    }
}

#[tokio::test]
async fn the_page_shows_the_mail_with_the_invoice() {
    let (url, _stack) = start_local_stack("invoice", &[]).await;
    let client = Client::new();
    let order = json!({
        "customerEmail": "ada@example.com",
        "lines": [{ "sku": "teapot", "quantity": 1 }],
        "paymentMethod": "pm_card_visa",
    });
    let placed = client.post(format!("{url}/order-api/orders")).json(&order).send().await.expect("an answer");
    assert_eq!(placed.status(), StatusCode::ACCEPTED);
    let mail = eventually("the invoice is mailed", async || {
        let state = get(&client, &format!("{url}/_local/state")).await;
        let mail =
            state["mails"].as_array().into_iter().flatten().find(|mail| mail["attachments"][0].is_object());
        mail.cloned().ok_or_else(|| state["mails"].to_string())
    })
    .await;
    let id = mail["id"].as_str().expect("an id");
    for path in ["", "/attachments/0"] {
        let answer = client.get(format!("{url}/_local/mails/{id}{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.text().await.expect("a body").contains("</"), "{path} is HTML");
    }
}

/// `scripts/try` judges a running system by what arrives.
#[tokio::test]
async fn try_tells_whether_the_system_works() {
    let (url, _stack) = start_local_stack("try", &[]).await;
    let run = |seconds: &str| {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/try"));
        let output = command.env("LOCAL_URL", &url).env("TRY_SECONDS", seconds).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let (code, text) = run("30");
    assert_eq!(code, Some(0), "{text}");
    for part in
        ["contact", "welcome mail", "signup charge", "invoice mail", "payment.succeeded", "The system works."]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let stop = Client::new().post(format!("{url}/_local/services/payment-service/stop"));
    assert_eq!(stop.send().await.expect("an answer").status(), StatusCode::OK);
    let (code, text) = run("2");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("The system does not work: final state: GET /orders/"), "{text}");
}

#[test]
fn reports_an_unreachable_firestore_emulator_once() {
    let output = Command::new(FUNCTIONS)
        .env_clear()
        .env("PORT", free_port().to_string())
        .env("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    let start = "functions: no answer from the Firestore emulator at 127.0.0.1:1, which FIRESTORE_EMULATOR_HOST names";
    assert!(errors.starts_with(start) && errors.lines().count() == 1, "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// A Pub/Sub emulator on which every subscription exists and pushes to another address.
async fn occupied_emulator() -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let app = Router::new().fallback(async |method: Method| match method {
        Method::PUT => (StatusCode::CONFLICT, Json(json!({}))),
        Method::GET => {
            (StatusCode::OK, Json(json!({ "pushConfig": { "pushEndpoint": "http://localhost:1/other" } })))
        }
        _ => (StatusCode::OK, Json(json!({}))),
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    host
}

#[tokio::test]
async fn serve_warns_if_it_redirects_the_pushes_of_another_process() {
    let host = occupied_emulator().await;
    let port = free_port();
    let mut command = Command::new(FUNCTIONS);
    command.args(["serve", "crm-service"]).env_clear().env("PORT", port.to_string()).env("PUSH_AUTH", "none");
    command.env("GOOGLE_CLOUD_PROJECT", "local").env("PUBSUB_EMULATOR_HOST", host);
    command.env("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1");
    let output = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("second-serve-{port}"));
    // An earlier run may have left it.
    let _ = std::fs::remove_file(&output);
    let process = Process::spawn(&mut command, output);
    eventually("the warning", async || {
        let log = process.output();
        let names_both = |line: &str| {
            line.contains("this subscription pushed to another address")
                && line.contains("http://localhost:1/other")
                && line.contains(&format!("http://localhost:{port}/"))
        };
        if log.lines().any(names_both) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn readme_orders_work_on_the_local_stack() {
    let (url, _stack) = start_local_stack("readme-shop", &[]).await;
    let printed = readme::follow_shop(readme::Endpoints::local_stack(&url)).await;
    expect_samples(readme::SHOP, &printed);
}

/// One order is refused, one expires, and one is paid.
#[tokio::test]
async fn readme_tickets_work_on_the_local_stack() {
    let (url, _stack) = start_local_stack("readme-ticketing", &[]).await;
    let printed = readme::Endpoints::local_stack(&url).run("<!-- test: ticketing -->");
    let values = |field: &str| -> Vec<&str> {
        let begin = format!("\"{field}\":\"");
        printed.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
    };
    let statuses = ["awaitingPayment", "refused", "expired", "pending", "completed"];
    assert_eq!((values("status"), values("state")), (statuses.to_vec(), vec!["listed", "sold"]), "{printed}");
    expect_samples("<!-- test: ticketing -->", &printed);
}

/// One command signs a user up while crm-service is stopped. Another publishes a message that no service can
/// read.
#[tokio::test]
async fn readme_faults_work_on_the_local_stack() {
    let (url, _stack) = start_local_stack("readme-break", &[]).await;
    let stack = readme::Endpoints::local_stack(&url);
    let printed = stack.run("<!-- test: break -->");
    assert!(printed.contains("crm-service is stopped"), "{printed}");
    expect_samples("<!-- test: break -->", &printed);
    let http = Client::builder().no_proxy().build().expect("an HTTP client");
    eventually("crm-service has caught up, and each consumer has a dead letter", async || {
        let contacts = stack.get(&http, "crm-service", "/contacts").await?;
        expect("contact", &contacts["items"][0]["email"], &"grace@example.com".into())?;
        let state = stack.get(&http, "local", "/_local/state").await?;
        expect("dead letters", &state["deadLetterCount"], &4.into())
    })
    .await;
}

#[tokio::test]
async fn readme_replay_works_on_the_local_stack() {
    let (url, _stack) = start_local_stack("readme-replay", &[]).await;
    let stack = readme::Endpoints::local_stack(&url);
    let http = Client::builder().no_proxy().build().expect("an HTTP client");
    // As if crm-service had rejected the event in an earlier release.
    let attributes = json!({
        "ce-id": "event-1",
        "ce-source": "//pushbox/user-service",
        "ce-type": "user.created",
        "dead-letter-message-id": "1",
        "dead-letter-reason": "a name, with a comma",
    });
    let user = json!({ "userId": "ann-1", "email": "ann@example.com", "name": "Ann" }).to_string();
    let message = json!({ "data": STANDARD.encode(user), "attributes": attributes });
    let publish = http.post(format!("{url}/v1/projects/local/topics/crm-service-dead-letter:publish"));
    let published = publish.json(&json!({ "messages": [message] })).send().await.expect("an answer");
    assert_eq!(published.status(), StatusCode::OK);
    stack.run("<!-- test: replay -->");
    eventually("crm-service has handled the replay, and the dead letter is gone", async || {
        let contacts = stack.get(&http, "crm-service", "/contacts").await?;
        expect("contact", &contacts["items"][0]["userId"], &"ann-1".into())?;
        let state = stack.get(&http, "local", "/_local/state").await?;
        expect("dead letters", &state["deadLetterCount"], &0.into())
    })
    .await;
}

#[tokio::test]
async fn prints_the_urls_and_stops_on_ctrl_c() {
    let (url, stack) = start_local_stack("screen", &[]).await;
    let screen = stack.output();
    for service in ["user-service", "email-service", "analytics-service", "crm-service", "billing-service"] {
        assert!(screen.contains(&format!("{url}/{service}")), "{service} is not in:\n{screen}");
    }
    for command in ["curl", "gcloud pubsub topics publish user-events"] {
        assert!(screen.contains(command), "{command} is not in:\n{screen}");
    }
    stack.signal("INT");
    assert_eq!(stack.ended().await.code(), Some(0));
}

#[test]
fn the_error_about_a_taken_port_has_its_number() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let output = Command::new(FUNCTIONS).env_clear().env("PORT", port.to_string()).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&format!("port {port}")), "{errors}");
}
