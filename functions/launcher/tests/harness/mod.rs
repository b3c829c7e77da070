//! What the tests that start processes share.

pub(crate) mod readme;

use std::{
    fmt::Debug,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

/// The binary under test.
pub(crate) const FUNCTIONS: &str = env!("CARGO_BIN_EXE_functions");

/// For everything that is expected to happen by itself, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of a process's output a failing test shows.
const SHOWN_LINES: usize = 25;

/// Tries until it succeeds, and returns what it found. The last error says why it did not.
pub(crate) async fn eventually<T>(what: &str, attempt: impl AsyncFn() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(found) => return found,
            Err(reason) if began.elapsed() > PATIENCE => panic!("not in {PATIENCE:?}: {what}: {reason}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

pub(crate) fn expect<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

/// A port for a process that may be started again on it: below those that outgoing connections get.
pub(crate) fn free_port() -> u16 {
    const PORTS: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let first = (std::process::id() % u32::from(PORTS)) as u16;
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS + first.wrapping_add(offset) % PORTS;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// What is in a file so far; nothing if there is no such file.
pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Starts the local stack, and returns its URL.
pub(crate) async fn start_local_stack(name: &str, variables: &[(&str, &str)]) -> (String, Process) {
    let port = free_port();
    let url = format!("http://localhost:{port}");
    let mut command = Command::new(FUNCTIONS);
    command.arg("local").env_clear().env("PORT", port.to_string()).envs(variables.iter().copied());
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("local-{name}-{port}"));
    // It may be there from another run.
    let _ = fs::remove_file(&output);
    let stack = Process::spawn(&mut command, output);
    eventually("the local stack answers, and has said where it is", async || {
        let answer = reqwest::get(&url).await.and_then(reqwest::Response::error_for_status);
        answer.map_err(|error| error.to_string())?;
        if stack.output().contains(&url) { Ok(()) } else { Err("it says nothing".to_owned()) }
    })
    .await;
    (url, stack)
}

/// A process that is killed when this is dropped. Its output goes to a file, of which a failing
/// test shows the end.
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// What it says is appended to the file `output`.
    pub(crate) fn spawn(command: &mut Command, output: PathBuf) -> Self {
        let file = File::options().append(true).create(true).open(&output).expect("a file for the output");
        let errors = file.try_clone().expect("the same file");
        let child = command.stdout(file).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self { child, output }
    }

    pub(crate) fn output(&self) -> String {
        read(&self.output)
    }

    /// Asks it to end, by SIGTERM or SIGINT.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success(), "cannot send {signal}");
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the process did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("--- {}\n{tail}", self.output.display());
        }
    }
}
