//! The command line. A missing or malformed variable stops the start, and the message names it.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    process::{Command, Output, Stdio},
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

/// Starts a service that must fail, and returns its errors. The variables override a valid set; an empty one
/// counts as not set. The port is taken, so every other error must come before the service listens.
fn failed_start(service: &str, variables: &[(&str, &str)]) -> String {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let valid = [
        ("GOOGLE_CLOUD_PROJECT", "my-project"),
        ("PUSH_AUTH", "iam"),
        ("PUSH_SERVICE_ACCOUNT", "push@example.com"),
        ("PORT", port.as_str()),
    ];
    let output = functions(&["serve", service], &[&valid, variables].concat());
    assert_eq!(output.status.code(), Some(1), "{service} with {variables:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// Starts a service with the settings of each case, one on each line, and expects all parts in its errors.
fn check(service: &str, cases: &[(&str, &[&str])]) {
    for (settings, parts) in cases {
        let variables: Vec<_> = settings.split('\n').filter_map(|setting| setting.split_once('=')).collect();
        let errors = failed_start(service, &variables);
        for part in *parts {
            assert!(errors.contains(part), "{service} with {settings}: {part:?} is not in: {errors}");
        }
        // Stands for a secret in the settings. No message may show it.
        assert!(!errors.contains("secret!"), "{service} with {settings}: {errors}");
    }
}

const EMULATORS: &str = "PUBSUB_EMULATOR_HOST=localhost:8085\nFIRESTORE_EMULATOR_HOST=localhost:8086";

#[test]
fn a_service_with_valid_settings_reaches_its_port() {
    let started: &[&str] = &["cannot listen on port"];
    check(
        "crm-service",
        &[
            ("", started),
            ("NAMES_PREFIX=staging-\nFIRESTORE_DATABASE=staging-documents", started),
            ("FIRESTORE_DATABASE=(default)\nGOOGLE_CLOUD_PROJECT=example.com:my-project", started),
            ("LOG=warn, pushbox=debug,firestore::db=off", started),
            (&format!("{EMULATORS}\nPUSH_AUTH=none\nGOOGLE_CLOUD_PROJECT=local"), started),
            // The end-to-end tests start it in this way, to read its logs.
            (&format!("{EMULATORS}\nPUSH_AUTH=none\nK_SERVICE=crm-service"), started),
            ("CORS_ALLOWED_ORIGINS=https://example.com, http://localhost:3000", started),
        ],
    );
    check(
        "user-service",
        &[("PUSH_AUTH=oidc\nPUSH_AUDIENCE=a\nPUSH_SERVICE_ACCOUNT=a@example.com", started)],
    );
}

#[test]
fn in_the_cloud_a_stand_in_is_a_choice() {
    let started: &[&str] = &["cannot listen on port"];
    let no_mail: &[&str] = &["MAIL_URL is not set", "MAIL_URL='smtps://", "MAIL=local"];
    for mails in ["email-service", "cancel-mail-service", "invoice-mail-service"] {
        check(
            mails,
            &[
                ("K_SERVICE=any", no_mail),
                ("K_SERVICE=any\nMAIL=", no_mail),
                // In many shells, MAIL is the path of the mailbox.
                ("K_SERVICE=any\nMAIL=/var/mail/ada", no_mail),
                ("K_SERVICE=any\nPAYMENTS=local", no_mail),
                ("K_SERVICE=any\nMAIL=local", started),
                ("K_SERVICE=any\nMAIL_URL=smtps://a:secret!@localhost\nMAIL_FROM=a@example.com", started),
                ("K_SERVICE=any\nMAIL=local\nMAIL_URL=secret!", started),
                ("", started),
            ],
        );
    }
    let no_payments: &[&str] = &["STRIPE_SECRET_KEY is not set", "STRIPE_SECRET_KEY='sk_", "PAYMENTS=local"];
    for pays in ["billing-service", "payment-service"] {
        check(
            pays,
            &[
                ("K_SERVICE=any", no_payments),
                ("K_SERVICE=any\nPAYMENTS=Local", no_payments),
                ("K_SERVICE=any\nMAIL=local", no_payments),
                ("K_SERVICE=any\nPAYMENTS=local", started),
                ("K_SERVICE=any\nSTRIPE_SECRET_KEY=sk_test_123", started),
                ("K_SERVICE=any\nPAYMENTS=local\nSTRIPE_SECRET_KEY=secret!", started),
                // The end-to-end tests start it in this way, to read its logs.
                (&format!("{EMULATORS}\nPUSH_AUTH=none\nK_SERVICE=any"), started),
                ("", started),
            ],
        );
    }
    check("crm-service", &[("K_SERVICE=any", started)]);
}

#[test]
fn names_the_missing_or_malformed_variable() {
    let project = "It is the id of the project";
    let prefix = "for example NAMES_PREFIX='staging-'";
    let database = "for example FIRESTORE_DATABASE='(default)'";
    let log = "for example LOG='info,pushbox=debug'";
    let origins = "for example CORS_ALLOWED_ORIGINS='https://example.com,http://localhost:3000'";
    check(
        "crm-service",
        &[
            ("GOOGLE_CLOUD_PROJECT=", &["GOOGLE_CLOUD_PROJECT is not set", project, "='my-project'"]),
            (
                "GOOGLE_CLOUD_PROJECT=a/b",
                &["GOOGLE_CLOUD_PROJECT='a/b' is malformed", project, "='my-project'"],
            ),
            ("GOOGLE_CLOUD_PROJECT=My Project", &["GOOGLE_CLOUD_PROJECT='My Project' is malformed"]),
            ("GOOGLE_CLOUD_PROJECT=my-project-", &["GOOGLE_CLOUD_PROJECT='my-project-' is malformed"]),
            ("NAMES_PREFIX=a/b", &["NAMES_PREFIX='a/b' is malformed", "each topic's name", prefix]),
            ("NAMES_PREFIX=goog-", &["NAMES_PREFIX='goog-' is malformed", prefix]),
            ("NAMES_PREFIX=1-", &["NAMES_PREFIX='1-' is malformed", prefix]),
            ("NAMES_PREFIX=longer-than-10-", &["NAMES_PREFIX='longer-than-10-' is malformed", prefix]),
            ("FIRESTORE_DATABASE=///", &["FIRESTORE_DATABASE='///' is malformed", "database that", database]),
            ("FIRESTORE_DATABASE=abc", &["FIRESTORE_DATABASE='abc' is malformed", database]),
            ("FIRESTORE_DATABASE=Documents", &["FIRESTORE_DATABASE='Documents' is malformed", database]),
            (
                "PORT=80a",
                &["PORT='80a' is malformed. It is the port to listen on", "for example PORT='8080'"],
            ),
            ("PORT=65536", &["PORT='65536' is malformed"]),
            ("PUBSUB_EMULATOR_HOST=8085", &["PUBSUB_EMULATOR_HOST='8085' is malformed", "='localhost:8085'"]),
            (
                "PUBSUB_EMULATOR_HOST=http://localhost:8085",
                &["PUBSUB_EMULATOR_HOST='http://localhost:8085' is malformed", "='localhost:8085'"],
            ),
            (
                "FIRESTORE_EMULATOR_HOST=localhost:",
                &["FIRESTORE_EMULATOR_HOST='localhost:' is malformed", "='localhost:8086'"],
            ),
            ("LOG=inof", &["LOG='inof' is malformed. It is the log filter", log]),
            ("LOG=info,", &["LOG='info,' is malformed", log]),
            ("LOG=info,pushbox=debgu", &["LOG='info,pushbox=debgu' is malformed", log]),
            ("CORS_ALLOWED_ORIGINS=*", &["CORS_ALLOWED_ORIGINS='*' is malformed", "public routes", origins]),
            (
                "CORS_ALLOWED_ORIGINS=example.com",
                &["CORS_ALLOWED_ORIGINS='example.com' is malformed", origins],
            ),
            // A browser sends an origin in none of these forms.
            ("CORS_ALLOWED_ORIGINS=https://a.example/", &["'https://a.example/' is malformed", origins]),
            (
                "CORS_ALLOWED_ORIGINS=https://a.example:443",
                &["'https://a.example:443' is malformed", origins],
            ),
            ("CORS_ALLOWED_ORIGINS=https://A.example", &["'https://A.example' is malformed", origins]),
            ("CORS_ALLOWED_ORIGINS=https://a.example,", &["'https://a.example,' is malformed", origins]),
            ("SIGNUP_PRICE=-1", &["SIGNUP_PRICE='-1' is malformed", "SIGNUP_PRICE='1000'"]),
            ("SIGNUP_CURRENCY=USD", &["SIGNUP_CURRENCY='USD' is malformed", "SIGNUP_CURRENCY='usd'"]),
            (
                "SIGNUP_PAYMENT_METHOD=a card",
                &["SIGNUP_PAYMENT_METHOD='a card' is malformed", "'pm_card_visa'"],
            ),
            ("MAIL_URL=smtp://secret!@localhost", &["MAIL_FROM is not set", "='Shop <hello@example.com>'"]),
            ("MAIL_URL=smtp://localhost\nMAIL_FROM=secret!", &["MAIL_FROM is malformed", "MAIL_FROM='"]),
            ("MAIL_URL=secret!\nMAIL_FROM=a@example.com", &["MAIL_URL is malformed", "MAIL_URL='smtp"]),
            ("STRIPE_SECRET_KEY=secret!", &["STRIPE_SECRET_KEY is malformed", "STRIPE_SECRET_KEY='sk_test_"]),
            (
                "STRIPE_SECRET_KEY=sk_test_123\nSTRIPE_API_BASE=secret!",
                &["STRIPE_API_BASE is malformed", "STRIPE_API_BASE='https://"],
            ),
        ],
    );
}

#[test]
fn a_service_does_not_start_without_push_authentication() {
    let variables = "PUBSUB_EMULATOR_HOST and FIRESTORE_EMULATOR_HOST";
    check(
        "crm-service",
        &[
            ("PUSH_AUTH=", &["PUSH_AUTH is not set. It is the authentication of pushes", "PUSH_AUTH='oidc'"]),
            ("PUSH_AUTH=basic", &["PUSH_AUTH='basic' is malformed", "PUSH_AUTH='oidc'"]),
            ("PUSH_AUTH=oidc", &["PUSH_AUDIENCE is not set", "PUSH_AUDIENCE='user-service"]),
            ("PUSH_AUTH=iam\nPUSH_SERVICE_ACCOUNT=", &["PUSH_SERVICE_ACCOUNT is not set", "='deliver-"]),
            (
                "PUSH_AUTH=iam\nPUSH_SERVICE_ACCOUNT=pusher",
                &["PUSH_SERVICE_ACCOUNT='pusher' is malformed", "='deliver-"],
            ),
            ("PUSH_AUTH=oidc\nPUSH_AUDIENCE=a b", &["PUSH_AUDIENCE='a b' is malformed"]),
            (
                "PUSH_AUTH=oidc\nPUSH_AUDIENCE=https://a.example.com\nPUSH_SERVICE_ACCOUNT=",
                &["PUSH_SERVICE_ACCOUNT is not set", "PUSH_SERVICE_ACCOUNT='"],
            ),
            (
                "PUSH_AUTH=oidc\nPUSH_AUDIENCE=https://a.example.com\nPUSH_SERVICE_ACCOUNT=pusher",
                &["PUSH_SERVICE_ACCOUNT='pusher' is malformed", "PUSH_SERVICE_ACCOUNT='deliver-"],
            ),
            ("PUSH_AUTH=none", &["PUSH_AUTH=none is for your own machine", variables, "oidc or iam"]),
            ("PUSH_AUTH=none\nPUBSUB_EMULATOR_HOST=localhost:8085", &[variables, "oidc or iam"]),
            ("PUSH_AUTH=none\nFIRESTORE_EMULATOR_HOST=localhost:8086", &[variables, "oidc or iam"]),
            (
                "PUSH_AUTH=none\nK_SERVICE=crm-service",
                &["PUSH_AUTH=none is for your own machine", "oidc or iam"],
            ),
        ],
    );
    for public in ["user-service", "order-api", "auth-service"] {
        check(public, &[("PUSH_AUTH=iam", &["PUSH_AUTH=iam is for private services", "PUSH_AUTH=oidc"])]);
    }
}

/// The lines that `functions keys new` prints.
fn new_keys(arguments: &[&str]) -> String {
    let output = functions(&[&["keys", "new"], arguments].concat(), &[]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).expect("text");
    printed.replace('\'', "").trim().to_owned()
}

#[test]
fn auth_service_needs_its_issuer_and_a_pair_of_keys() {
    let base = "PUSH_AUTH=oidc\nPUSH_AUDIENCE=a\nPUSH_SERVICE_ACCOUNT=a@example.com";
    let issuer = format!("{base}\nAUTH_ISSUER=https://auth.example.com");
    let (keys, others) = (new_keys(&[]), new_keys(&[]));
    let (private, public) = keys.split_once('\n').expect("two lines");
    let (other_private, other_public) = others.split_once('\n').expect("two lines");
    assert!(private.starts_with("AUTH_SIGNING_KEY={") && public.starts_with("AUTH_JWKS={"), "{keys}");
    // A rotation: the new public key stands beside the old one.
    let jwks = public.strip_prefix("AUTH_JWKS=").expect("the name");
    let rotated = new_keys(&["--beside", jwks]);
    let (next_private, both) = rotated.split_once('\n').expect("two lines");
    let started: &[&str] = &["cannot listen on port"];
    check(
        "auth-service",
        &[
            (base, &["AUTH_ISSUER is not set. It is the issuer", "AUTH_ISSUER='https://"]),
            (&format!("{base}\nAUTH_ISSUER=a b"), &["AUTH_ISSUER='a b' is malformed"]),
            (&issuer, &["AUTH_JWKS is not set. It is the public keys", "`functions keys new`"]),
            (&format!("{issuer}\nAUTH_JWKS=secret!"), &["AUTH_JWKS is malformed: it is not JSON"]),
            (
                &format!("{issuer}\nAUTH_JWKS={{\"keys\":[{{\"d\":\"secret!\"}}]}}"),
                &["AUTH_JWKS is malformed: it holds a private key"],
            ),
            (&format!("{issuer}\n{public}"), &["AUTH_SIGNING_KEY is not set. It is the private key"]),
            (
                &format!("{issuer}\n{public}\nAUTH_SIGNING_KEY=secret!"),
                &["AUTH_SIGNING_KEY is malformed: it is not a private JSON Web Key"],
            ),
            (
                &format!("{issuer}\n{public}\n{other_private}"),
                &["AUTH_SIGNING_KEY is malformed: AUTH_JWKS does not have its public half"],
            ),
            (&format!("{issuer}\n{other_public}\n{other_private}"), started),
            (&format!("{issuer}\n{public}\n{private}"), started),
            (&format!("{issuer}\n{both}\n{private}"), started),
            (&format!("{issuer}\n{both}\n{next_private}"), started),
        ],
    );
    let refused = functions(&["keys", "new", "--beside", "secret!"], &[]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), &*errors), (Some(1), "functions: --beside: it is not JSON\n"));
}

#[test]
fn rejects_an_unknown_service_before_it_reads_the_environment() {
    let known = [
        "there is no service crn-service",
        "user-service",
        "email-service",
        "analytics-service",
        "crm-service",
        "billing-service",
    ];
    check("crn-service", &[("", &known), ("PUSH_AUTH=\nPORT=80a\nLOG=inof\nSIGNUP_PRICE=-1", &known)]);
}

#[test]
fn prints_the_catalog_as_json_in_every_environment() {
    let output = functions(&["catalog"], &[("SIGNUP_PRICE", "malformed"), ("MAIL_URL", "malformed")]);
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
fn a_malformed_project_stops_a_command_before_it_calls_anything() {
    let emulators = [("PUBSUB_EMULATOR_HOST", "localhost:1"), ("FIRESTORE_EMULATOR_HOST", "localhost:1")];
    for command in [&["console"][..], &["dead-letters", "groups"]] {
        for project in ["", "a/b <x>", "My-Project"] {
            let output = functions(&[command, &["--project", project]].concat(), &emulators);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command:?} {project}: {errors}");
            assert!(errors.contains(&format!("--project='{project}' is malformed")), "{errors}");
        }
    }
}

#[test]
fn generated_files_match_the_catalog() {
    let output = functions(&["catalog", "--check"], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_exit_code_of_the_doctor_tells_findings_from_unreadable_input() {
    let fixtures = "shared/doctor/tests/doctor/fixtures";
    let own = functions(&["doctor"], &[]);
    assert_eq!(own.status.code(), Some(0), "{own:?}");
    let (catalog, plan) = (format!("{fixtures}/catalog.json"), format!("{fixtures}/plan.json"));
    let sound = functions(&["doctor", "--catalog", &catalog], &[]);
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    let sound_plan = functions(&["doctor", "--catalog", &catalog, &plan], &[]);
    assert_eq!(sound_plan.status.code(), Some(0), "{sound_plan:?}");
    // This plan comes from another catalog than this binary's.
    let foreign = functions(&["doctor", &plan], &[]);
    assert_eq!(foreign.status.code(), Some(1), "{foreign:?}");
    for (arguments, expected) in [
        (&["doctor", "no-such-plan.json"][..], "cannot read no-such-plan.json"),
        (&["doctor", "--catalog", &plan], "plan.json is not a catalog: missing field `timing`"),
        (&["doctor", &catalog], "catalog.json cannot be checked"),
    ] {
        let output = functions(arguments, &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{expected}: {errors}");
        assert!(errors.contains(expected), "{expected:?} is not in: {errors}");
    }
    let list = functions(&["doctor", "--list"], &[]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.lines().any(|line| line.starts_with("grant-publish ")), "{list}");
}

/// `head` closes the pipe as soon as it has enough lines.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in [&["catalog"][..], &["doctor"], &["doctor", "--list"], &["keys", "new"]] {
        let (reader, closed) = io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_functions"));
        let output = command.args(arguments).env_clear().stdout(closed).stderr(Stdio::piped()).spawn();
        let output = output.expect("the binary runs").wait_with_output().expect("its output");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{arguments:?}");
    }
}
