//! `functions local`: the whole system in one process, which needs nothing else.

mod harness;

use std::{
    env,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    process::Command,
};

use harness::{FUNCTIONS, readme, start_local_stack};

#[tokio::test]
async fn the_readmes_own_commands_work_on_the_local_stack() {
    let has_gcloud =
        Command::new("gcloud").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_gcloud {
        let in_ci = env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "gcloud is missing: https://cloud.google.com/sdk/docs/install");
        // Not by println!, which a test that passes keeps to itself.
        let skipped = "skipped: gcloud is missing: https://cloud.google.com/sdk/docs/install";
        writeln!(io::stderr(), "{skipped}").expect("standard error is there");
        return;
    }
    let (url, _stack) = start_local_stack("readme", &[]).await;
    readme::follow(readme::Reached::local_stack(&url)).await;
}

#[tokio::test]
async fn the_readmes_own_orders_work_on_the_local_stack() {
    let (url, _stack) = start_local_stack("readme-shop", &[]).await;
    readme::follow_shop(readme::Reached::local_stack(&url)).await;
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
