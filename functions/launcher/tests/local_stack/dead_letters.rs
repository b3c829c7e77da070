//! `functions dead-letters` against a local stack in another process.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::Path,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{FUNCTIONS, Process, eventually, expect, start_local_stack};

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(FUNCTIONS);
    command.arg("dead-letters").args(arguments).env_clear().env("LOCAL_URL", url);
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Runs the command, and returns its exit code, its output and its errors.
fn dead_letters(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(url, arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json_of(url: &str, arguments: &[&str]) -> Value {
    let (code, printed, errors) = dead_letters(url, &[arguments, &["--json"]].concat());
    assert!(code == Some(0), "{arguments:?}: {code:?} {errors}");
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

async fn publish(url: &str, topic: &str, data: &str, attributes: Value) {
    let message = json!({ "data": STANDARD.encode(data), "attributes": attributes });
    let publish = Client::new().post(format!("{url}/v1/projects/local/topics/{topic}:publish"));
    let answer = publish.json(&json!({ "messages": [message] })).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
}

/// As if crm-service had rejected the signup of this user in an earlier release.
async fn rejected(url: &str, user: &str) {
    let data = json!({ "userId": user, "email": "ann@example.com", "name": "Ann" }).to_string();
    let attributes = json!({
        "ce-id": user,
        "ce-source": "//pushbox/user-service",
        "ce-type": "user.created",
        "dead-letter-code": "rejected",
        "dead-letter-message-id": "1",
        "dead-letter-reason": format!("the region of {user}1 is unknown"),
    });
    publish(url, "crm-service-dead-letter", &data, attributes).await;
}

#[tokio::test]
async fn a_person_groups_shows_and_replays_letters() {
    let (url, _stack) = start_local_stack("dead-letters", &[]).await;
    for user in ["ann", "ben"] {
        rejected(&url, user).await;
    }
    let groups = json_of(&url, &["groups"]);
    assert_eq!(
        (groups[0]["count"].clone(), groups[0]["service"].clone()),
        (2.into(), "crm-service".into()),
        "{groups}"
    );
    assert_eq!(groups[0]["reason"], "the region of … is unknown");
    let group = groups[0]["group"].as_str().expect("a group");
    let list = json_of(&url, &["list", "--group", group, "--since", "1h"]);
    let letter = list[0]["letter"].as_str().expect("a letter");
    let (_, shown, _) = dead_letters(&url, &["show", letter]);
    assert!(shown.contains("user.created") && !shown.contains("ann@example.com"), "{shown}");
    let (_, shown, _) = dead_letters(&url, &["show", letter, "--unmask"]);
    assert!(shown.contains("ann@example.com"), "{shown}");

    // No terminal and no --yes: it only says what it would do.
    let (code, _, told) = dead_letters(&url, &["replay", "--group", group]);
    assert_eq!(code, Some(0));
    assert!(told.contains("2 letters to crm-service only (topic user-events)"), "{told}");
    assert_eq!(json_of(&url, &["groups"])[0]["count"], 2);

    let report = json_of(&url, &["replay", "--group", group, "--yes", "--rate", "100/s"]);
    assert_eq!((&report["handled"], &report["unsent"]), (&2.into(), &0.into()), "{report}");
    assert_eq!(json_of(&url, &["groups"]), json!([]));
    let http = Client::new();
    let get = async |path: &str| -> Result<Value, String> {
        let answer = http.get(format!("{url}{path}")).send().await.map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    };
    let contacts = get("/crm-service/contacts").await.expect("contacts");
    assert_eq!(contacts["items"].as_array().map(Vec::len), Some(2), "{contacts}");
    eventually("all other services have ignored the replays", async || {
        let state = get("/_local/state").await?;
        for event in state["events"].as_array().into_iter().flatten() {
            for (subscription, fate) in event["deliveries"].as_object().into_iter().flatten() {
                let expected = if subscription == "crm-service-user-events" { "handled" } else { "ignored" };
                expect(subscription, &fate["outcome"], &expected.into())?;
            }
        }
        Ok(())
    })
    .await;

    // crm-service has handled the event, so its receipt is no verdict on another replay.
    rejected(&url, "ann").await;
    let (code, printed, errors) = dead_letters(&url, &["replay", "--all", "--yes", "--wait", "1s"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(printed.contains("0 handled, 1 republished, 0 came back"), "{printed}");
    assert!(errors.contains("1 republished: the service had handled these events before"), "{errors}");
}

#[tokio::test]
async fn the_exit_code_tells_how_a_replay_ended() {
    let (url, _stack) = start_local_stack("dead-letter-codes", &[]).await;
    publish(&url, "user-events", "poison", json!({})).await;
    eventually("four services reject it", async || {
        let groups = json_of(&url, &["groups"]);
        expect("groups", &groups.as_array().map_or(0, Vec::len), &4)
    })
    .await;
    let replay = |arguments: &[&str]| dead_letters(&url, &[&["replay"], arguments].concat());
    let (code, _, errors) = replay(&["--service", "crm-service", "--yes"]);
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("came back as"), "{errors}");
    assert_eq!(json_of(&url, &["groups", "--service", "crm-service"])[0]["cameBack"], 1);
    for (wrong, expected) in [
        (&["--yes"][..], 2),
        (&["--all", "--service", "crm-service"], 2),
        (&["--all", "--rate", "0"], 2),
        (&["--all", "--max", "0"], 2),
        (&["--group", "no-such-group"], 1),
        (&["--all", "--since", "1h"], 0),
        (&["no-such-letter"], 1),
        (&["--service", "no-such-service"], 1),
    ] {
        assert_eq!(replay(wrong).0, Some(expected), "{wrong:?}");
    }

    let export = format!("{}/dropped-{}.jsonl", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    // An earlier run may have left it.
    let _ = fs::remove_file(&export);
    let drop = |arguments: &[&str]| {
        dead_letters(&url, &[&["drop", "--code", "rejected", "--export", &export], arguments].concat())
    };
    assert_eq!(drop(&[]).0, Some(0));
    assert!(!fs::exists(&export).expect("a folder"), "nothing is dropped without --yes");
    assert_eq!(drop(&["--yes"]).0, Some(0));
    assert_eq!(fs::read_to_string(&export).expect("the export").lines().count(), 4);
    assert_eq!(json_of(&url, &["groups"]), json!([]));
    rejected(&url, "ann").await;
    assert_eq!(drop(&["--yes"]).0, Some(1), "it overwrites no export");
    assert_eq!(json_of(&url, &["groups"])[0]["count"], 1);
}

/// `head` closes the pipe as soon as it has enough lines.
#[tokio::test]
async fn a_reader_that_goes_away_hides_no_letters() {
    let (url, _stack) = start_local_stack("dead-letter-pipes", &[]).await;
    rejected(&url, "ann").await;
    for arguments in [&["groups"][..], &["list", "--json"], &["replay", "--all"]] {
        let (reader, closed) = io::pipe().expect("a pipe");
        drop(reader);
        let mut command = command(&url, arguments);
        command.stdout(closed.try_clone().expect("a pipe")).stderr(closed);
        let ended = command.status().expect("it runs");
        assert_eq!(ended.code(), Some(0), "{arguments:?}");
        let list = json_of(&url, &["list"]);
        assert_eq!(list.as_array().map(Vec::len), Some(1), "after {arguments:?}");
    }
}

#[tokio::test]
async fn a_letter_cannot_write_to_the_terminal() {
    let (url, _stack) = start_local_stack("dead-letter-terminal", &[]).await;
    let hostile = "\u{1b}[2J\u{9b}31m\r\nforged\u{202e}";
    let mut attributes = json!({ "ce-id": "1", "ce-source": "//test", "dead-letter-code": "rejected" });
    for name in ["ce-type", "dead-letter-reason", "dead-letter-subscription"] {
        attributes[name] = hostile.into();
    }
    publish(&url, "crm-service-dead-letter", hostile, attributes).await;
    let list = json_of(&url, &["list"]);
    let letter = list[0]["letter"].as_str().expect("a letter");
    assert_eq!(list[0]["type"], hostile, "JSON has the same text");
    for arguments in [
        &["groups"][..],
        &["list"],
        &["list", "--json"],
        &["show", letter],
        &["show", letter, "--unmask"],
        &["replay", letter],
        &["replay", letter, "--yes", "--wait", "1s"],
    ] {
        let (_, printed, errors) = dead_letters(&url, arguments);
        let told = printed + &errors;
        assert!(told.contains("forged"), "{arguments:?}: {told}");
        let is_harmless = |line: &str| {
            !line.starts_with("forged") && !line.chars().any(|each| each.is_control() || each == '\u{202e}')
        };
        assert!(told.lines().all(is_harmless), "{arguments:?}: {told:?}");
    }
}

/// The story of the README moves the clock of the local stack.
#[tokio::test]
async fn letters_have_the_time_of_the_local_stack() {
    let (url, _stack) = start_local_stack("dead-letter-clock", &[]).await;
    rejected(&url, "ann").await;
    let advance = Client::new().post(format!("{url}/_local/clock/advance"));
    let answer = advance.form(&[("seconds", "60")]).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
    rejected(&url, "ben").await;
    for (arguments, code, expected) in [
        (&["--all"][..], 0, "2 letters to crm-service only"),
        (&["--all", "--since", "30s"], 0, "1 letter to crm-service only"),
        (&["--all", "--before", "30s"], 0, "1 letter left out: newer than"),
        (&["--all", "--before", "2h"], 1, "there is no letter to replay: 2 letters left out: newer than"),
        (&["--all", "--yes", "--rate", "100/s"], 0, "2 handled"),
    ] {
        let (ended, printed, errors) = dead_letters(&url, &[&["replay"], arguments].concat());
        let told = printed + &errors;
        assert!(ended == Some(code) && told.contains(expected), "{arguments:?}: {ended:?} {told}");
    }
}

/// An address where something else than Pub/Sub answers.
async fn another_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    tokio::spawn(axum::serve(listener, Router::new()).into_future());
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_says_what_does_not_answer() {
    let another = another_server().await;
    let no_pubsub = "functions: Pub/Sub does not answer at 127.0.0.1:1. Does the emulator";
    for (arguments, pubsub, code, expected) in [
        (&["groups"][..], "127.0.0.1:1", 1, no_pubsub),
        (&["groups"], &another, 1, "answers 404 Not Found, but not as Pub/Sub does. Is the address right?"),
        (
            &["groups", "--local", "http://127.0.0.1:1"],
            "127.0.0.1:1",
            1,
            "functions: the local stack does not answer at 127.0.0.1:1. Does it run?",
        ),
        (
            &["groups", "--local", &format!("http://{another}")],
            "127.0.0.1:1",
            1,
            "functions: the local stack at 127.0.0.1:",
        ),
        (&["groups", "--local", "nohost"], "127.0.0.1:1", 2, "not a URL such as http://localhost:8080"),
        (&["groups", "--since", "99999999999h"], "127.0.0.1:1", 2, "at most 36500d"),
    ] {
        let mut command = command("", arguments);
        command.env("GOOGLE_CLOUD_PROJECT", "acme").env("PUBSUB_EMULATOR_HOST", pubsub);
        let output = command.env("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1").output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
}

#[tokio::test]
async fn a_signal_stops_a_replay_and_gives_the_letters_back() {
    let (url, _stack) = start_local_stack("dead-letter-signals", &[]).await;
    for (signal, user) in [("INT", "ann"), ("TERM", "ben")] {
        for number in 0..8 {
            rejected(&url, &format!("{user}-{number}")).await;
        }
        let before = json_of(&url, &["list"]).as_array().map_or(0, Vec::len);
        let mut command = command(&url, &["replay", "--all", "--yes", "--rate", "0.5/s", "--json"]);
        let output = format!("{}/replay-{signal}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let _ = fs::remove_file(&output);
        let replay = Process::spawn(&mut command, output.clone().into());
        eventually("the first letter is handled", async || {
            if replay.output().contains("canary") { Ok(()) } else { Err(replay.output()) }
        })
        .await;
        replay.signal(signal);
        assert_eq!(replay.ended().await.code(), Some(130), "{signal}");
        let told = fs::read_to_string(&output).expect("its output");
        let report: Value = serde_json::from_str(&told[told.find("\n{").expect("a report")..]).expect("JSON");
        assert_eq!(report["stop"], "interrupted", "{told}");
        let unsent = report["unsent"].as_u64().and_then(|unsent| usize::try_from(unsent).ok());
        assert!(unsent.is_some_and(|unsent| (1..before).contains(&unsent)), "{told}");
        assert_eq!(json_of(&url, &["list"]).as_array().map(Vec::len), unsent, "after {signal}: {told}");
    }
}

/// Pub/Sub with a dead letter for each of these ids, in each of these topics. A pull returns the next 250. An
/// acknowledgement takes a while, so that a command can be stopped before it has made all of them.
async fn dead_letter_topics(topics: &'static [&'static str], ids: Range<u32>) -> String {
    let next: BTreeMap<&str, Mutex<Range<u32>>> =
        topics.iter().map(|topic| (*topic, Mutex::new(ids.clone()))).collect();
    let next = Arc::new(next);
    let answer = async move |Path(call): Path<String>| {
        let letter = |id: u32| {
            json!({
                "ackId": id.to_string(),
                "message": {
                    "messageId": id.to_string(),
                    "publishTime": "2026-11-20T12:00:00Z",
                    "attributes": { "ce-id": "1", "ce-source": "//test", "ce-type": "user.created" },
                },
            })
        };
        if call.ends_with(":acknowledge") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ids = call.strip_suffix(":pull").and_then(|topic| next.get(topic));
        let letters: Vec<_> = ids.map_or_else(Vec::new, |ids| {
            ids.lock().expect("no panic").by_ref().take(250).map(letter).collect()
        });
        Json(json!({ "receivedMessages": letters }))
    };
    let now = get(|| async { Json(json!({ "now": "2026-11-21T12:00:00Z" })) });
    let app = Router::new()
        .route("/v1/projects/local/subscriptions/{call}", post(answer))
        .route("/_local/clock", now);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(axum::serve(listener, app).into_future());
    url
}

// The command blocks a thread, and the stand-in needs another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_two_services_have_needs_the_service() {
    for command in [&["show"][..], &["replay"], &["drop"]] {
        let url = async || {
            dead_letter_topics(&["crm-service-dead-letter", "email-service-dead-letter"], 7..8).await
        };
        let (code, printed, errors) = dead_letters(&url().await, &[command, &["7"]].concat());
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{command:?}: {errors}");
        let expected = "crm-service and email-service have a letter 7 each: --service chooses";
        assert!(errors.contains(expected), "{command:?}: {errors}");
        let (code, printed, errors) =
            dead_letters(&url().await, &[command, &["7", "--service", "crm-service"]].concat());
        assert_eq!(code, Some(0), "{command:?}: {errors}");
        let told = printed + &errors;
        assert!(told.contains("crm-service") && !told.contains("email-service"), "{command:?}: {told}");
    }
}

#[tokio::test]
async fn a_signal_stops_a_drop_between_two_batches() {
    let url = dead_letter_topics(&["crm-service-dead-letter"], 0..5_000).await;
    let path = |name: &str| format!("{}/{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let (export, output) = (path("drop-export"), path("drop-output"));
    let mut command = command(&url, &["drop", "--since", "1000d", "--yes", "--export", &export, "--json"]);
    let drop = Process::spawn(&mut command, output.clone().into());
    eventually("the first letters are exported", async || {
        let length = fs::metadata(&export).map_or(0, |file| file.len());
        if length > 0 { Ok(()) } else { Err(drop.output()) }
    })
    .await;
    drop.signal("INT");
    assert_eq!(drop.ended().await.code(), Some(130));
    let told = fs::read_to_string(&output).expect("its output");
    let removal: Value = serde_json::from_str(&told[told.find('{').expect("a report")..]).expect("JSON");
    let count = |name: &str| removal["removal"][name].as_u64().expect("a number");
    let (dropped, left) = (count("dropped"), count("left"));
    assert!(dropped > 0 && left > 0 && dropped + left == 5_000, "{told}");
    let exported = fs::read_to_string(&export).expect("the export").lines().count();
    assert_eq!(exported as u64, dropped, "{told}");
}

// The command blocks a thread, and the stand-in needs another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_tells_that_there_may_be_more_letters() {
    for (letters, is_all) in [(9_999, true), (10_001, false)] {
        for command in [
            &["groups"][..],
            &["list"],
            &["replay", "--service", "crm-service", "--max", "1"],
            &["drop", "--since", "1000d"],
        ] {
            let url = dead_letter_topics(&["crm-service-dead-letter"], 0..letters).await;
            let (code, _, errors) = dead_letters(&url, command);
            assert_eq!(code, Some(0), "{command:?}: {errors}");
            let told = errors.contains("one command holds at most 10000 letters, and there may be more");
            assert_eq!(told, !is_all, "{command:?} with {letters} letters: {errors}");
        }
    }
}
