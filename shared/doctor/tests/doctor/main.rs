//! Breaks catalogs, plans and states on purpose, and compares the doctor's findings.
//!
//! `fixtures/trim.jq` explains how to make the plan and the state. Their names have the prefix `staging-`,
//! and they deploy all systems of the catalog but one.

mod broken;

use std::{collections::BTreeSet, fs};

use broken::{
    CRM_SERVICE, catalogs, declare_canary, deployments, plans, plans_and_states, put_behind_load_balancer,
    split, states,
};
use catalog::Catalog;
use serde_json::{Value, json};

const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor/fixtures/catalog.json");
const PLAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor/fixtures/plan.json");
const STATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor/fixtures/state.json");

#[test]
fn finds_nothing_in_sound_input() {
    let catalog = fixture(CATALOG);
    for path in [None, Some(PLAN), Some(STATE)] {
        let plan = path.map(fixture);
        let report = examine(&catalog, plan.as_ref()).expect("a plan");
        let text = report.to_string();
        assert!(report.is_sound(), "{text}");
        // A state may be stale, and the report says so.
        assert_eq!(text.lines().count(), if path == Some(STATE) { 2 } else { 1 }, "{text}");
        assert_eq!(text.contains("scripts/doctor PROJECT"), path == Some(STATE), "{text}");
        assert!(text.starts_with("Checked the catalog (3 services, 1 topic, 3 subscriptions)"), "{text}");
        assert_eq!(
            text.contains("2 services, 1 topic, 2 subscriptions): no findings"),
            plan.is_some(),
            "{text}"
        );
    }
}

#[test]
fn finds_each_fault_of_a_catalog() {
    for (change, expected) in catalogs() {
        check(&broken(CATALOG, change), None, expected);
    }
}

#[test]
fn finds_each_fault_of_a_plan() {
    for (change, expected) in plans_and_states().into_iter().chain(plans()) {
        check(&fixture(CATALOG), Some(&broken(PLAN, change)), expected);
    }
}

#[test]
fn finds_each_fault_of_a_state() {
    for (change, expected) in plans_and_states().into_iter().chain(states()) {
        check(&fixture(CATALOG), Some(&broken(STATE, change)), expected);
    }
}

#[test]
fn finds_most_faults_of_deployments() {
    let (found, missed): (Vec<_>, Vec<_>) =
        deployments().into_iter().partition(|(_, expected)| !expected.is_empty());
    assert_eq!((found.len(), missed.len()), (50, 1));
}

/// `scripts/deploy --canary` declares its share in the plan.
#[test]
fn accepts_a_declared_canary() {
    let mut plan = fixture(PLAN);
    declare_canary(&mut plan, 10);
    split(&mut plan, CRM_SERVICE, 10);
    check(&fixture(CATALOG), Some(&plan), &[]);
}

/// With a domain, public services accept calls of its load balancer, and uptime checks call the domain.
#[test]
fn accepts_a_public_service_behind_a_load_balancer() {
    for path in [PLAN, STATE] {
        let mut plan = fixture(path);
        put_behind_load_balancer(&mut plan);
        check(&fixture(CATALOG), Some(&plan), &[]);
    }
}

/// `terraform plan -refresh-only` plans nothing. It shows what exists as the prior state.
#[test]
fn checks_the_state_that_a_plan_has_refreshed() {
    let (catalog, state) = (fixture(CATALOG), fixture(STATE));
    let refreshed = |state: &Value| {
        json!({ "format_version": "1.2", "planned_values": { "root_module": {} }, "prior_state": state,
            // They need not be those of the deployment.
            "variables": { "systems": { "value": ["audit"] } } })
    };
    let sound = examine(&catalog, Some(&refreshed(&state))).expect("a plan").to_string();
    assert!(
        sound.contains("(a refreshed state, 2 services, 1 topic, 2 subscriptions): no findings"),
        "{sound}"
    );
    assert!(!sound.contains("scripts/doctor"), "{sound}");
    for (change, expected) in plans_and_states() {
        check(&catalog, Some(&refreshed(&broken(STATE, change))), expected);
    }

    // A plan that removes everything is not the same.
    let mut removal = refreshed(&state);
    removal["resource_changes"] = json!([{ "change": { "actions": ["delete"] } }]);
    let error = examine(&catalog, Some(&removal)).err().unwrap_or_default();
    assert!(error.contains("it has no resources"), "{error}");
}

#[test]
fn every_check_has_a_test() {
    let listed: BTreeSet<&str> = doctor::checks().map(|(name, _)| name).collect();
    let all = catalogs().into_iter().chain(plans_and_states()).chain(plans()).chain(states());
    let found: BTreeSet<&str> =
        all.flat_map(|(_, expected)| expected).filter_map(|line| line.split(':').next()).collect();
    assert_eq!(listed, found);
}

#[test]
fn the_error_says_why_a_plan_cannot_be_read() {
    let catalog: Catalog = serde_json::from_value(fixture(CATALOG)).expect("a catalog");
    let catalog_text = fixture(CATALOG).to_string();
    let cases = [
        ("{", "p.json cannot be checked: it is not the output of `terraform show -json`: EOF"),
        (catalog_text.as_str(), "p.json cannot be checked: it is not the output of `terraform show -json`"),
        (r#"{"format_version":"2.0"}"#, "format_version is \"2.0\", not 1.x"),
        (r#"{"format_version":"1.0"}"#, "it has no resources: nothing is deployed"),
        (r#"{"format_version":"1.2","errored":true}"#, "it is a plan that failed"),
    ];
    for (plan, expected) in cases {
        let error = doctor::examine(&catalog, Some(("p.json", plan))).err().unwrap_or_default();
        assert!(error.contains(expected), "{error} does not contain: {expected}");
    }
}

/// Expects exactly these findings, each with its consequence and its remedy.
fn check(catalog: &Value, plan: Option<&Value>, expected: &[&str]) {
    let report = examine(catalog, plan).expect("a plan");
    let text = report.to_string();
    let findings: Vec<&str> =
        text.lines().filter(|line| !line.starts_with([' ', 'A', 'C']) && !line.is_empty()).collect();
    assert_eq!(findings, expected, "{text}");
    assert_eq!(report.is_sound(), expected.iter().all(|line| line.contains(": warning: ")), "{text}");
    for part in ["    why: ", "    do:  "] {
        assert_eq!(text.lines().filter(|line| line.starts_with(part)).count(), expected.len(), "{text}");
    }
}

fn examine(catalog: &Value, plan: Option<&Value>) -> Result<doctor::Report, String> {
    let catalog = serde_json::from_value(catalog.clone()).expect("a catalog");
    let plan = plan.map(Value::to_string);
    doctor::examine(&catalog, plan.as_deref().map(|plan| ("-", plan)))
}

fn fixture(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the fixture")).expect("JSON")
}

fn broken(path: &str, change: fn(&mut Value)) -> Value {
    let sound = fixture(path);
    let mut broken = sound.clone();
    change(&mut broken);
    assert_ne!(sound, broken, "the change breaks nothing");
    broken
}
