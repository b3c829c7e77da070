//! `functions doctor`: what it finds in catalogs, plans and states that are broken on purpose.
//!
//! trim.jq says how the plan and the state were made. Their names begin with `staging-`, and
//! one of the catalog's systems is left out.

mod broken;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use broken::{catalogs, plans, plans_and_states, states};
use serde_json::Value;

const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor/catalog.json");
const PLAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor/plan.json");
const STATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor/state.json");

#[test]
fn finds_nothing_in_what_is_sound() {
    for arguments in [&[][..], &[PLAN], &[STATE]] {
        let output = doctor(&[&["--catalog", CATALOG], arguments].concat(), "");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("Checked the catalog (3 services, 1 topic, 3 subscriptions)"), "{said}");
        assert_eq!(
            said.contains("2 services, 1 topic, 2 subscriptions): nothing"),
            !arguments.is_empty(),
            "{said}"
        );
    }
}

#[test]
fn finds_nothing_in_its_own_catalog() {
    let output = doctor(&[], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn finds_what_is_wrong_with_a_catalog() {
    for (number, (change, expected)) in catalogs().into_iter().enumerate() {
        let catalog = broken(CATALOG, change);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("catalog-{number}.json"));
        fs::write(&path, catalog.to_string()).unwrap();
        check(&["--catalog", path.to_str().unwrap()], "", expected);
    }
}

#[test]
fn finds_what_is_wrong_with_a_plan() {
    for (change, expected) in plans_and_states().into_iter().chain(plans()) {
        check(&["--catalog", CATALOG, "-"], &broken(PLAN, change).to_string(), expected);
    }
}

#[test]
fn finds_what_is_wrong_with_a_state() {
    for (change, expected) in plans_and_states().into_iter().chain(states()) {
        check(&["--catalog", CATALOG, "-"], &broken(STATE, change).to_string(), expected);
    }
}

#[test]
fn nothing_is_looked_for_that_is_never_found_here() {
    let list = String::from_utf8(doctor(&["--list"], "").stdout).unwrap();
    let listed: BTreeSet<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let all = catalogs().into_iter().chain(plans_and_states()).chain(plans()).chain(states());
    let found: BTreeSet<&str> =
        all.flat_map(|(_, expected)| expected).filter_map(|line| line.split(':').next()).collect();
    assert_eq!(listed, found);
}

#[test]
fn says_what_it_cannot_read() {
    let missing = doctor(&["no-such-plan.json"], "");
    let cases = [
        (missing, "cannot read no-such-plan.json"),
        (doctor(&["--catalog", PLAN], ""), "plan.json is not a catalog: missing field `timing`"),
        (doctor(&["-"], "{"), "- cannot be checked: it is not what `terraform show -json` prints: EOF"),
        (
            doctor(&[CATALOG], ""),
            "catalog.json cannot be checked: it is not what `terraform show -json` prints",
        ),
        (doctor(&["-"], r#"{"format_version":"2.0"}"#), "format_version is \"2.0\", not 1.x"),
        (doctor(&["-"], r#"{"format_version":"1.0"}"#), "it holds no resource: nothing is deployed"),
        (doctor(&["-"], r#"{"format_version":"1.2","errored":true}"#), "it is a plan that failed"),
    ];
    for (output, expected) in cases {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{expected}: {said}");
        assert!(said.contains(expected), "{said} is not: {expected}");
    }
}

/// Exactly these findings, each with its reason and its remedy.
fn check(arguments: &[&str], input: &str, expected: &[&str]) {
    let output = doctor(arguments, input);
    let said = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<&str> =
        said.lines().filter(|line| !line.starts_with([' ', 'C']) && !line.is_empty()).collect();
    assert_eq!(findings, expected, "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["    why: ", "    do:  "] {
        assert_eq!(said.lines().filter(|line| line.starts_with(part)).count(), expected.len(), "{said}");
    }
}

fn broken(path: &str, change: fn(&mut Value)) -> Value {
    let sound: Value = serde_json::from_str(&fs::read_to_string(path).expect("the fixture")).expect("JSON");
    let mut broken = sound.clone();
    change(&mut broken);
    assert_ne!(sound, broken, "nothing is broken");
    broken
}

fn doctor(arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_functions"))
        .arg("doctor")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Whoever does not read it closes it.
    let _ = process.stdin.take().expect("stdin").write_all(input.as_bytes());
    process.wait_with_output().expect("an end")
}
