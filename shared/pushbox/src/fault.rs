//! Fault points: places at which a test, or a person at the console, can kill a service.

use std::{
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// Kills one service of a process that hosts several. When it [happens](Self::happens), the host must drop the
/// service's requests and refuse its calls of the ports. A clone is another handle to the same crash.
#[derive(Clone)]
pub struct Crash(Arc<Inner>);

struct Inner {
    armed: Mutex<Option<&'static str>>,
    happened: watch::Sender<bool>,
}

impl Crash {
    /// The names of the fault points, and what they are between.
    pub const POINTS: [(&str, &str); 3] = [
        ("claimed", "between the claim and the call"),
        ("performed", "between the call and its record"),
        ("committed", "between the commit and the relay"),
    ];

    /// Kills the service when it reaches this fault point. With `None`, it is not killed.
    pub fn arm(&self, point: Option<&str>) {
        let known = Self::POINTS.into_iter().map(|(name, _)| name).find(|name| Some(*name) == point);
        *self.0.armed.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The fault point at which the service will be killed.
    #[must_use]
    pub fn armed(&self) -> Option<&'static str> {
        *self.0.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the service now.
    pub fn now(&self) {
        self.arm(None);
        self.0.happened.send_replace(true);
    }

    /// Whether the service was killed.
    #[must_use]
    pub fn has_happened(&self) -> bool {
        *self.0.happened.borrow()
    }

    /// Waits until the service is killed.
    pub async fn happens(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.happened.subscribe().wait_for(|happened| *happened).await;
    }

    /// A fault point. If it is armed, the code after it never runs.
    pub(crate) async fn point(&self, name: &str) {
        hang_if_the_environment_says_so(name).await;
        if self.armed() == Some(name) {
            self.now();
            // By then the host has dropped the request. Work in the background ends here.
            tokio::time::sleep(Duration::from_secs(1)).await;
            resume_unwind(Box::new("the service was killed"));
        }
    }
}

impl Default for Crash {
    fn default() -> Self {
        Self(Arc::new(Inner { armed: Mutex::new(None), happened: watch::channel(false).0 }))
    }
}

/// If the variable `FAULT_POINT` names this place, logs that and waits without end, so that a test can kill
/// the process here. Does nothing in a release build.
async fn hang_if_the_environment_says_so(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("FAULT_POINT").is_ok_and(|fault| fault == name) {
        tracing::warn!("fault point {name} reached");
        std::future::pending::<()>().await;
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
