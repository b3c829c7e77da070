//! Tests of the adapters for Google's services, on Google's emulators:
//! `scripts/emulators -- cargo test -p pushbox --test emulators`.

#[allow(dead_code, reason = "the other test binary uses the rest")]
#[path = "../suite/mod.rs"]
mod suite;

mod firestore;
mod proxy;
mod pubsub;
mod rpcs;

use std::net::TcpListener;

/// The address in this variable, which `scripts/emulators` sets.
fn emulator(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set. Run: scripts/emulators -- cargo test -p pushbox --test emulators")
    })
}

/// A new project. Each test has one, so that tests do not share data.
fn fresh_project() -> String {
    format!("test-{}", &uuid::Uuid::new_v4().simple().to_string()[..16])
}

/// An address without a listener.
fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// An address that accepts connections and never answers, as long as the listener lives.
fn silent_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}
