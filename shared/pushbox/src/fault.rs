//! Fault points: places at which a test, or a person at the console, can kill a service.

use std::{
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// Kills one service of a process that hosts several. When it [happens](Self::happens), the host must drop the
/// service's requests and refuse its calls of the ports. A clone is another handle to the same crash.
#[derive(Clone)]
pub struct Crash(Arc<Inner>);

struct Inner {
    armed: Mutex<Option<&'static str>>,
    reached: Mutex<Option<&'static str>>,
    happened: watch::Sender<bool>,
}

impl Crash {
    /// The names of the fault points, and where they are. A service without an effect reaches only the last one.
    pub const POINTS: [(&str, &str); 3] = [
        ("claimed", "before the call"),
        ("performed", "after the call, before its record"),
        ("committed", "after the commit, before its events are published"),
    ];

    /// Where a fault point is, in words.
    #[must_use]
    pub fn place(point: &str) -> Option<&'static str> {
        Self::POINTS.into_iter().find(|(name, _)| *name == point).map(|(_, place)| place)
    }

    /// Kills the service when it reaches this fault point. With `None`, it is not killed.
    pub fn arm(&self, point: Option<&str>) {
        let known = Self::POINTS.into_iter().map(|(name, _)| name).find(|name| Some(*name) == point);
        *lock(&self.0.armed) = known;
    }

    /// The fault point at which the service will be killed.
    #[must_use]
    pub fn armed(&self) -> Option<&'static str> {
        *lock(&self.0.armed)
    }

    /// The fault point at which it has happened; none if it has not, or if a person ended the service.
    #[must_use]
    pub fn reached(&self) -> Option<&'static str> {
        *lock(&self.0.reached)
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
        if let Some(armed) = self.armed().filter(|armed| *armed == name) {
            *lock(&self.0.reached) = Some(armed);
            self.now();
            // By then the host has dropped the request. Work in the background ends here.
            tokio::time::sleep(Duration::from_secs(1)).await;
            resume_unwind(Box::new("the service was killed"));
        }
    }
}

impl Default for Crash {
    fn default() -> Self {
        let happened = watch::channel(false).0;
        Self(Arc::new(Inner { armed: Mutex::default(), reached: Mutex::default(), happened }))
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
