//! The adapters for Google's services, on Google's emulators:
//! `scripts/emulators -- cargo test -p pushbox --test emulators`.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../suite/mod.rs"]
mod suite;

mod firestore;
mod proxy;
mod pubsub;
mod rpcs;

use std::net::TcpListener;

/// What the variable says, which `scripts/emulators` sets.
fn emulator(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set. Run: scripts/emulators -- cargo test -p pushbox --test emulators")
    })
}

/// A project of its own for each test: it costs nothing and keeps them apart.
fn fresh_project() -> String {
    format!("test-{}", &uuid::Uuid::new_v4().simple().to_string()[..16])
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// An address where connections are accepted and nothing is ever answered. It lasts as long as the
/// listener.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}
