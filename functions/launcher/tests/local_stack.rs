//! `functions local`: the whole system in one process, which needs nothing else.

mod harness;

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    process::Command,
};

use axum::{Json, Router, http::Method};
use harness::{FUNCTIONS, Process, eventually, expect, free_port, readme, start_local_stack};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// Says so when there is no gcloud; in CI there must be one.
fn has_gcloud() -> bool {
    let found = Command::new("gcloud").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let in_ci = env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "gcloud is missing: https://cloud.google.com/sdk/docs/install");
        // Not by println!, which a test that passes keeps to itself.
        let skipped = "skipped: gcloud is missing: https://cloud.google.com/sdk/docs/install";
        writeln!(io::stderr(), "{skipped}").expect("standard error is there");
    }
    found
}

#[tokio::test]
async fn the_readmes_own_commands_work_on_the_local_stack() {
    if !has_gcloud() {
        return;
    }
    let (url, _stack) = start_local_stack("readme", &[]).await;
    readme::follow(readme::Reached::local_stack(&url)).await;
}

/// What a person does who wants to see what flows.
#[tokio::test]
async fn gcloud_watches_a_topic() {
    if !has_gcloud() {
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
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gcloud pubsub {arguments}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for (arguments, answer) in [
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
        ("subscriptions delete mine", ""),
    ] {
        let said = gcloud(arguments);
        assert!(said.contains(answer), "gcloud pubsub {arguments}: {said}");
    }
}

#[tokio::test]
async fn every_route_that_a_service_lists_is_there() {
    let (url, _stack) = start_local_stack("routes", &[]).await;
    let client = Client::new();
    let state: Value = get(&client, &format!("{url}/_local/state")).await;
    let mut own = BTreeSet::new();
    for service in state["services"].as_array().expect("services") {
        let name = service["name"].as_str().expect("a name");
        let list: Value = get(&client, &format!("{url}/{name}")).await;
        for route in list["routes"].as_array().expect("routes") {
            let (method, path) =
                (route["method"].as_str().expect("text"), route["path"].as_str().expect("text"));
            own.insert(format!("{method} {path}"));
            let method = method.parse::<Method>().expect("a method");
            // What stands for a parameter names nothing that is there.
            let answer = client.request(method, format!("{url}{}", path.replace(['{', '}'], "-")));
            let answer = answer.send().await.expect("an answer");
            let status = answer.status();
            let said = answer.text().await.expect("a body");
            let is_there =
                status != StatusCode::METHOD_NOT_ALLOWED && !said.contains("There is nothing at this path");
            assert!(is_there, "{route}: {status} {said}");
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
        assert!(own.contains(route), "{route} is not among {own:?}");
    }
}

async fn get(client: &Client, url: &str) -> Value {
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    answer.expect("an answer").json().await.expect("JSON")
}

#[tokio::test]
async fn the_invoice_can_be_read_on_the_page() {
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

#[test]
fn a_firestore_emulator_that_is_not_there_is_said_once() {
    let output = Command::new(FUNCTIONS)
        .env_clear()
        .env("PORT", free_port().to_string())
        .env("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let start = "functions: no answer from the Firestore emulator at 127.0.0.1:1, which FIRESTORE_EMULATOR_HOST names";
    assert!(said.starts_with(start) && said.lines().count() == 1, "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// An emulator where the subscriptions are there and push elsewhere.
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
async fn a_second_serve_says_whose_pushes_it_takes() {
    let host = occupied_emulator().await;
    let port = free_port();
    let mut command = Command::new(FUNCTIONS);
    command.args(["serve", "crm-service"]).env_clear().env("PORT", port.to_string()).env("PUSH_AUTH", "none");
    command.env("GOOGLE_CLOUD_PROJECT", "local").env("PUBSUB_EMULATOR_HOST", host);
    command.env("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1");
    let output = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("second-serve-{port}"));
    // It may be there from another run.
    let _ = std::fs::remove_file(&output);
    let process = Process::spawn(&mut command, output);
    eventually("the warning", async || {
        let said = process.output();
        let names_both = |line: &str| {
            line.contains("this subscription pushed to another address")
                && line.contains("http://localhost:1/other")
                && line.contains(&format!("http://localhost:{port}/"))
        };
        if said.lines().any(names_both) { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test]
async fn the_readmes_own_orders_work_on_the_local_stack() {
    let (url, _stack) = start_local_stack("readme-shop", &[]).await;
    readme::follow_shop(readme::Reached::local_stack(&url)).await;
}

/// One command signs a user up while crm-service is stopped, and one publishes what no service can
/// read.
#[tokio::test]
async fn the_readmes_own_ways_to_break_it_work_on_the_local_stack() {
    let (url, _stack) = start_local_stack("readme-break", &[]).await;
    let stack = readme::Reached::local_stack(&url);
    let printed = stack.run("<!-- test: break -->");
    assert!(printed.contains("crm-service is stopped"), "{printed}");
    let http = Client::builder().no_proxy().build().expect("an HTTP client");
    eventually("crm-service has caught up, and each consumer has parked the poison", async || {
        let contacts = stack.get(&http, "crm-service", "/contacts").await?;
        expect("contact", &contacts["items"][0]["email"], &"grace@example.com".into())?;
        let state = stack.get(&http, "local", "/_local/state").await?;
        expect("dead letters", &state["deadLetterCount"], &4.into())
    })
    .await;
}

#[tokio::test]
async fn it_says_where_everything_is_and_ends_on_ctrl_c() {
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
fn a_taken_port_is_said_by_number() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let output = Command::new(FUNCTIONS).env_clear().env("PORT", port.to_string()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("port {port}")), "{said}");
}
