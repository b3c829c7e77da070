//! Logs: [Cloud Logging's JSON](https://cloud.google.com/logging/docs/structured-logging) in the
//! cloud, text for people elsewhere.

use std::{fmt, io::Write};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::{ParseError, Targets},
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::trace::{TRACEPARENT, Trace};

/// Starts logging to standard output. `filter` is such as `info` or `info,pushbox=debug`; with
/// `cloud_project` the lines are Cloud Logging's JSON.
///
/// # Errors
/// Says what is wrong with `filter`.
pub fn start(filter: &str, cloud_project: Option<&str>) -> Result<(), ParseError> {
    let filter: Targets = filter.parse()?;
    let lines = match cloud_project {
        Some(project) => Lines::ForCloudLogging { project: project.to_owned() },
        None => Lines::ForPeople,
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

/// Writes a line for each event, with the fields of the spans that it is in.
enum Lines {
    ForCloudLogging { project: String },
    ForPeople,
}

/// In the order in which they were recorded. A field of an event comes after its spans' and wins.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.push((field.name(), value));
    }
}

impl From<Fields> for Map<String, Value> {
    fn from(fields: Fields) -> Self {
        fields.0.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend_from_slice(&of_span.0);
            }
        }
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let line = match self {
            Self::ForCloudLogging { project } => {
                for_cloud_logging(project, level, target, fields.into()).to_string()
            }
            Self::ForPeople => for_people(level, &fields),
        };
        // Nothing is to be done about a standard output that is gone.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

fn for_cloud_logging(project: &str, level: Level, target: &str, mut fields: Map<String, Value>) -> Value {
    let severity = match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    };
    let traceparent = fields.remove(TRACEPARENT);
    let trace = traceparent.as_ref().and_then(Value::as_str).and_then(Trace::parse);
    let labels: Map<_, _> = ["service", "outcome", "eventType"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fields.get(name)?.clone())))
        .collect();
    fields.insert("severity".to_owned(), severity.into());
    fields.insert("target".to_owned(), target.into());
    fields.insert("logging.googleapis.com/labels".to_owned(), labels.into());
    if let Some(trace) = trace {
        let name = format!("projects/{project}/traces/{}", trace.trace_id);
        fields.insert("logging.googleapis.com/trace".to_owned(), name.into());
        fields.insert("logging.googleapis.com/spanId".to_owned(), trace.span_id.into());
        fields.insert("logging.googleapis.com/trace_sampled".to_owned(), trace.sampled.into());
    }
    Value::Object(fields)
}

/// The time, who, what, and the rest. What is only of use to a query is left out.
fn for_people(level: Level, fields: &Fields) -> String {
    let text = |name: &str| {
        let found = fields.0.iter().rev().find(|(field, _)| *field == name);
        found.and_then(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let time = jiff::Timestamp::now().strftime("%H:%M:%S").to_string();
    let mut line = format!("{time} {level:>5} {:<22} {}", text("service"), text("message"));
    for (name, value) in &fields.0 {
        match (*name, value) {
            ("service" | "message" | "outcome" | "key" | "messageId" | "subscription" | TRACEPARENT, _) => {}
            (name, Value::String(text)) => line.extend([" ", name, "=", text]),
            (name, value) => line += &format!(" {name}={value}"),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_names_that_cloud_logging_looks_for() {
        let trace = Trace::continued(None);
        let fields = json!({ "message": "delivery: handled", "service": "crm-service",
            "outcome": "handled", TRACEPARENT: trace.to_string() });
        let Value::Object(fields) = fields else { panic!("not an object") };
        let line = for_cloud_logging("p", Level::WARN, "pushbox::http", fields);
        let expected = json!({
            "severity": "WARNING", "message": "delivery: handled", "target": "pushbox::http",
            "service": "crm-service", "outcome": "handled",
            "logging.googleapis.com/labels": { "service": "crm-service", "outcome": "handled" },
            "logging.googleapis.com/trace": format!("projects/p/traces/{}", trace.trace_id),
            "logging.googleapis.com/spanId": trace.span_id,
            "logging.googleapis.com/trace_sampled": false,
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_line_for_people_is_short() {
        let fields = Fields(vec![
            ("service", "crm-service".into()),
            (TRACEPARENT, "00-…".into()),
            ("message", "delivery: retry".into()),
            ("key", "k".into()),
            ("attempt", 1.into()),
            ("reason", "no answer".into()),
        ]);
        let line = for_people(Level::WARN, &fields);
        assert_eq!(&line[9..], " WARN crm-service            delivery: retry attempt=1 reason=no answer");
    }
}
