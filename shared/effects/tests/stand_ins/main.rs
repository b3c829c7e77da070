//! The adapters against a real mail server and an HTTP stand-in for Stripe, both from PyPI.
//!
//! `python3` on the `PATH` must have the packages that scripts/test installs in target/venv.

#![allow(clippy::unwrap_used)]

mod smtp;
mod stripe;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

/// A server in Python. It prints its port, and then one line for each request. Dropping this value
/// ends the server.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_ins").join(script);
        let mut child = Command::new("python3")
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 on the PATH");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut server = Self { child, lines, port: 0 };
        server.port = server.line().trim().parse().expect("PATH=$PWD/target/venv/bin:$PATH is missing");
        server
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line
    }

    /// The next request that the server has printed.
    fn seen(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
