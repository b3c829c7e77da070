//! The services of the stack. Each runs like a process of its own: it can be stopped, killed and started, and it can
//! have faults.

mod faults;
mod ports;

pub(crate) use faults::{Faults, MOST_LATENCY_MILLIS};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use pushbox::{Crash, Ports, Problem};
use tower::ServiceExt;

use crate::journal::{Change, Journal};

/// The header of an answer that the stack gives for a service that is down: why it is down.
pub(crate) const DOWN: HeaderName = HeaderName::from_static("local-down");

/// Builds the app of a service on these ports.
type Build = Box<dyn Fn(Ports) -> Option<Router> + Send + Sync>;

/// A service of the stack.
pub(crate) struct Process {
    pub(crate) relays: bool,
    journal: Journal,
    /// None if the service cannot be built again. Then it can be stopped, but not killed.
    build: Option<(Ports, Build)>,
    faults: Arc<Mutex<Faults>>,
    life: Mutex<Life>,
}

/// One incarnation.
#[derive(Clone)]
struct Life {
    app: Router,
    is_stopped: bool,
    crash: Crash,
}

/// Whether a service answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Running {
    Up,
    Stopped,
    /// It was killed with its requests in flight.
    Killed,
}

impl Process {
    /// A service that is up.
    pub(crate) fn of_app(app: Router, relays: bool, journal: Journal) -> Self {
        let life = Life { app, is_stopped: false, crash: Crash::default() };
        Self { relays, journal, build: None, faults: Arc::default(), life: Mutex::new(life) }
    }

    /// A service that is up, and that can be killed and built again. None if there is no such service.
    pub(crate) fn built(
        relays: bool,
        journal: Journal,
        ports: Ports,
        build: impl Fn(Ports) -> Option<Router> + Send + Sync + 'static,
    ) -> Option<Self> {
        let faults = Arc::<Mutex<Faults>>::default();
        let crash = Crash::default();
        let app = build(ports::mortal(&ports, &faults, &crash))?;
        let life = Life { app, is_stopped: false, crash };
        let build: Option<(Ports, Build)> = Some((ports, Box::new(build)));
        Some(Self { relays, journal, build, faults, life: Mutex::new(life) })
    }

    pub(crate) fn running(&self) -> Running {
        let life = self.life();
        match (life.crash.has_happened(), life.is_stopped) {
            (true, _) => Running::Killed,
            (false, true) => Running::Stopped,
            (false, false) => Running::Up,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running() == Running::Up
    }

    /// The fault point at which it was killed, in words.
    pub(crate) fn killed_at(&self) -> Option<&'static str> {
        self.life().crash.reached().and_then(Crash::place)
    }

    pub(crate) fn can_be_killed(&self) -> bool {
        self.build.is_some()
    }

    /// Lets its requests in flight end, and refuses new ones.
    pub(crate) fn stop(&self) {
        self.life().is_stopped = true;
        self.journal.note(Change::Other);
    }

    /// Ends it at once, with its requests in flight.
    pub(crate) fn kill(&self) {
        self.life().crash.now();
        self.journal.note(Change::Other);
    }

    /// Starts it, if it is not up. After a kill it begins with nothing but its documents.
    pub(crate) fn start(&self) {
        let mut life = self.life();
        if life.crash.has_happened()
            && let Some((ports, build)) = &self.build
        {
            let crash = Crash::default();
            if let Some(app) = build(ports::mortal(ports, &self.faults, &crash)) {
                (life.app, life.crash) = (app, crash);
            }
        }
        life.is_stopped = false;
        self.journal.note(Change::Other);
    }

    /// Its faults, and the fault point at which it will be killed.
    pub(crate) fn faults(&self) -> (Faults, Option<&'static str>) {
        (*lock(&self.faults), self.life().crash.armed())
    }

    pub(crate) fn set_faults(&self, faults: Faults, kill_at: Option<&str>) {
        *lock(&self.faults) = faults;
        self.life().crash.arm(kill_at);
        self.journal.note(Change::Other);
    }

    /// Answers, if it is up.
    pub(crate) async fn answer(&self, name: &str, request: Request) -> Response {
        let Life { app, is_stopped, crash } = self.life().clone();
        let down = |why: &str| {
            // Pub/Sub treats this answer like a missing instance: it delivers again later.
            let detail = format!("{name} is {why}. POST /_local/services/{name}/start starts it.");
            let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
            response.headers_mut().extend(HeaderValue::from_str(why).ok().map(|why| (DOWN, why)));
            response
        };
        if crash.has_happened() {
            return down("killed");
        }
        if is_stopped {
            return down("stopped");
        }
        let faults = *lock(&self.faults);
        let answer = async {
            tokio::time::sleep(faults.latency()).await;
            if faults.fails(&request) {
                let detail =
                    format!("{name} fails {} % of its requests: a fault is on.", faults.error_percent);
                return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response();
            }
            let Ok(response) = app.oneshot(request).await;
            response
        };
        tokio::select! {
            biased;
            () = crash.happens() => {
                self.journal.note(Change::Other);
                let place = crash.reached().and_then(Crash::place);
                down(&place.map_or_else(|| "killed".to_owned(), |place| format!("killed {place}")))
            }
            response = answer => response,
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        lock(&self.life)
    }
}

/// No code panics between two changes of these values, so a poisoned one is still consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
