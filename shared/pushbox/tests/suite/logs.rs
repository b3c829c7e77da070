//! The log.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

/// The lines that the current thread logs, such as `WARN message=… error=…`.
pub struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Logs {
    /// Collects the lines from now on.
    pub fn collect() -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let _guard = tracing_subscriber::registry().with(Collect(lines.clone())).set_default();
        Self { lines, _guard }
    }

    /// The lines with this level.
    pub fn of(&self, level: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("a lock");
        lines.iter().filter(|line| line.split(' ').next() == Some(level)).cloned().collect()
    }
}

struct Collect(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().expect("a lock").push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a text grows");
    }
}
