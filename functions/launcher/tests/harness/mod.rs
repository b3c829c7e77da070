//! Helpers for tests that start processes.

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

/// The timeout of a wait, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of lines of a process's output that a failing test prints.
const TAIL_LINES: usize = 25;

/// Repeats the attempt until it succeeds, and returns its result. Panics with the last error after a timeout.
pub(crate) async fn eventually<T>(event: &str, attempt: impl AsyncFn() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(result) => return result,
            Err(reason) if began.elapsed() > PATIENCE => panic!("not in {PATIENCE:?}: {event}: {reason}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

pub(crate) fn expect<T: PartialEq + Debug>(name: &str, actual: &T, expected: &T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("{name}: {actual:?}, expected {expected:?}")) }
}

/// A port for a process. It is below the range for outgoing connections, so a restarted process can use it
/// again.
pub(crate) fn free_port() -> u16 {
    const PORTS: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin with different ports.
    let first = (std::process::id() % u32::from(PORTS)) as u16;
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS + first.wrapping_add(offset) % PORTS;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// The content of a file; empty if the file does not exist.
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
    // An earlier run may have left it.
    let _ = fs::remove_file(&output);
    let stack = Process::spawn(&mut command, output);
    eventually("the local stack answers and prints its URL", async || {
        let answer = reqwest::get(&url).await.and_then(reqwest::Response::error_for_status);
        answer.map_err(|error| error.to_string())?;
        if stack.output().contains(&url) { Ok(()) } else { Err("it prints no URL".to_owned()) }
    })
    .await;
    (url, stack)
}

/// A process, which is killed on drop. Its output goes to a file. A failing test prints the end of it.
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Appends the output of the process to the file `output`.
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

    /// Sends `TERM` or `INT`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is installed").success(), "cannot send {signal}");
    }

    /// Waits until the process ends.
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
        // It fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            eprintln!("--- {}\n{tail}", self.output.display());
        }
    }
}
