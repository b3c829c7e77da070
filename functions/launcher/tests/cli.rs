//! The command line: what is wrong with the environment is said by name, at the start.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Command, Output},
};

use serde_json::Value;

fn functions(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_functions"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

/// Starts crm-service with these variables set, over those that it needs (unset where empty), and
/// on a port that is taken: what is wrong must be found before anybody listens.
fn start(variables: &[(&str, &str)]) -> String {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let needed = [("GOOGLE_CLOUD_PROJECT", "my-project"), ("PUSH_AUTH", "iam"), ("PORT", port.as_str())];
    let output = functions(&["serve", "crm-service"], &[&needed, variables].concat());
    assert_eq!(output.status.code(), Some(1), "{variables:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn with_what_it_needs_it_gets_as_far_as_its_port() {
    let said = start(&[]);
    assert!(said.contains("cannot listen on port"), "{said}");
}

#[test]
fn a_variable_that_is_missing_or_malformed_stops_the_start_by_name() {
    let oidc = ("PUSH_AUTH", "oidc");
    let stripe = ("STRIPE_SECRET_KEY", "sk_test_123");
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Variables, &str, &str)] = &[
        (&[("PUSH_AUTH", "")], "PUSH_AUTH is not set", "PUSH_AUTH='oidc'"),
        (&[("PUSH_AUTH", "wrong!")], "PUSH_AUTH is malformed", "PUSH_AUTH='oidc'"),
        (
            &[("PUSH_AUTH", "none"), ("K_SERVICE", "crm-service")],
            "PUSH_AUTH=none is for your own machine",
            "oidc or iam",
        ),
        (&[oidc], "PUSH_AUDIENCE is not set", "PUSH_AUDIENCE='user-service"),
        (
            &[oidc, ("PUSH_AUDIENCE", "https://a.example.com")],
            "PUSH_SERVICE_ACCOUNT is not set",
            "PUSH_SERVICE_ACCOUNT='",
        ),
        (
            &[("GOOGLE_CLOUD_PROJECT", "")],
            "GOOGLE_CLOUD_PROJECT is not set",
            "GOOGLE_CLOUD_PROJECT='my-project'",
        ),
        (&[("PORT", "wrong!")], "PORT is malformed", "PORT='8080'"),
        (&[("PORT", "65536")], "PORT is malformed", "PORT='8080'"),
        (&[("PUBSUB_EMULATOR_HOST", "wrong!")], "PUBSUB_EMULATOR_HOST is malformed", "='localhost:8085'"),
        (
            &[("PUBSUB_EMULATOR_HOST", "http://localhost:8085")],
            "PUBSUB_EMULATOR_HOST is malformed",
            "='localhost:8085'",
        ),
        (
            &[("FIRESTORE_EMULATOR_HOST", "wrong!")],
            "FIRESTORE_EMULATOR_HOST is malformed",
            "='localhost:8086'",
        ),
        (&[("MAIL_URL", "smtp://localhost")], "MAIL_FROM is not set", "MAIL_FROM='Shop <hello@example.com>'"),
        (
            &[("MAIL_URL", "smtp://localhost"), ("MAIL_FROM", "wrong!")],
            "MAIL_FROM is malformed",
            "MAIL_FROM='",
        ),
        (
            &[("MAIL_URL", "wrong!"), ("MAIL_FROM", "a@example.com")],
            "MAIL_URL is malformed",
            "MAIL_URL='smtp",
        ),
        (&[("STRIPE_SECRET_KEY", "wrong!")], "STRIPE_SECRET_KEY is malformed", "STRIPE_SECRET_KEY='sk_test_"),
        (
            &[stripe, ("STRIPE_API_BASE", "wrong!")],
            "STRIPE_API_BASE is malformed",
            "STRIPE_API_BASE='https://",
        ),
        (&[("SIGNUP_PRICE", "wrong!")], "SIGNUP_PRICE is malformed", "SIGNUP_PRICE='1000'"),
        (&[("SIGNUP_CURRENCY", "wrong!")], "SIGNUP_CURRENCY is malformed", "SIGNUP_CURRENCY='usd'"),
        (&[("LOG", "info,=wrong!=")], "LOG is malformed", "LOG='info,pushbox=debug'"),
    ];
    for (variables, problem, example) in cases {
        let said = start(variables);
        assert!(said.contains(problem) && said.contains(example), "{variables:?}: {said}");
        // It may be a secret.
        assert!(!said.contains("wrong!"), "{variables:?}: {said}");
    }
}

#[test]
fn an_unknown_service_is_told_the_known_ones() {
    let variables = [("GOOGLE_CLOUD_PROJECT", "my-project"), ("PUSH_AUTH", "iam")];
    let output = functions(&["serve", "crn-service"], &variables);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "crn-service",
        "user-service",
        "email-service",
        "analytics-service",
        "crm-service",
        "billing-service",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_catalog_is_json_and_needs_no_environment() {
    let output = functions(&["catalog"], &[]);
    assert!(output.status.success(), "{output:?}");
    let catalog: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names = |list: &str, field: &str| -> Vec<Value> {
        catalog[list].as_array().into_iter().flatten().map(|entry| entry[field].clone()).collect()
    };
    assert!(names("services", "name").contains(&"crm-service".into()), "{catalog}");
    assert!(names("topics", "name").contains(&"user-events".into()), "{catalog}");
    assert!(names("events", "type").contains(&"user.created".into()), "{catalog}");
}

#[test]
fn what_is_made_from_the_catalog_has_not_drifted() {
    let output = functions(&["catalog", "--check"], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
