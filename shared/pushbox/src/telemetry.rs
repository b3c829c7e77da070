//! Logs: [Cloud Logging's JSON](https://cloud.google.com/logging/docs/structured-logging) in the cloud, and
//! text for people elsewhere.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::wire::attribute::TRACEPARENT;

/// The text is not a log filter.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not a level, nor levels of modules, such as info,pushbox=debug")]
pub struct InvalidFilter;

/// Starts logging to standard output. A filter looks like `info` or `info,pushbox=debug`. With
/// `cloud_project`, the lines are Cloud Logging's JSON.
///
/// # Errors
/// If `filter` is malformed.
pub fn start(filter: &str, cloud_project: Option<&str>) -> Result<(), InvalidFilter> {
    let filter = targets(filter)?;
    let lines = match cloud_project {
        Some(project) => Lines::ForCloudLogging { project: project.to_owned() },
        None => Lines::ForPeople,
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

/// Parses `LEVEL` and `MODULE=LEVEL`, separated by commas. The parser of [`Targets`] treats a misspelled
/// level as a module and then logs nothing else.
fn targets(filter: &str) -> Result<Targets, InvalidFilter> {
    filter.split(',').map(str::trim).try_fold(Targets::new(), |targets, part| {
        let (module, level) = match part.split_once('=') {
            Some((module, level)) => (Some(module), level),
            None => (None, part),
        };
        // The library reads an empty level as `error`.
        let level: LevelFilter = Some(level)
            .filter(|level| !level.is_empty())
            .ok_or(InvalidFilter)?
            .parse()
            .map_err(|_| InvalidFilter)?;
        match module {
            None => Ok(targets.with_default(level)),
            Some(module) if is_module(module) => Ok(targets.with_target(module, level)),
            Some(_) => Err(InvalidFilter),
        }
    })
}

fn is_module(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// Writes a line for each log event, with the fields of its spans.
enum Lines {
    ForCloudLogging { project: String },
    ForPeople,
}

/// Fields in the order of their recording. The last one of each name counts, so the fields of an event win
/// over those of its spans.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::with_capacity(64);
        // Writing to a string never fails.
        let _ = write!(text, "{value:?}");
        self.insert(field, text.into());
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

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(field, _)| *field == name).map(|(_, value)| value)
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
        let mut fields = Fields(Vec::with_capacity(16));
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend_from_slice(&of_span.0);
            }
        }
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let mut line = match self {
            Self::ForCloudLogging { project } => {
                let mut line = Vec::with_capacity(1 << 10);
                // Nothing in it can fail.
                let _ =
                    serde_json::to_writer(&mut line, &CloudLine { project, level, target, fields: &fields });
                line
            }
            Self::ForPeople => for_people(level, &fields).into(),
        };
        line.push(b'\n');
        // Nothing can be done if standard output is closed.
        let _ = std::io::stdout().write_all(&line);
    }
}

/// A line with the field names that
/// [Cloud Logging](https://cloud.google.com/logging/docs/agent/logging/configuration#special-fields) expects.
struct CloudLine<'a> {
    project: &'a str,
    level: Level,
    target: &'a str,
    fields: &'a Fields,
}

impl Serialize for CloudLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { project, level, target, fields } = self;
        let severity = match *level {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            _ => "DEBUG",
        };
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("severity", severity)?;
        line.serialize_entry("target", target)?;
        for (index, (name, value)) in fields.0.iter().enumerate() {
            let comes_again = fields.0[index + 1..].iter().any(|(later, _)| later == name);
            if *name != TRACEPARENT && !comes_again {
                line.serialize_entry(name, value)?;
            }
        }
        line.serialize_entry("logging.googleapis.com/labels", &Labels(fields))?;
        let traceparent = fields.get(TRACEPARENT).and_then(Value::as_str).unwrap_or_default();
        // The format of `Trace`.
        if let [_, trace_id, span_id, flags] = traceparent.split('-').collect::<Vec<_>>()[..] {
            let name = ["projects/", project, "/traces/", trace_id].concat();
            line.serialize_entry("logging.googleapis.com/trace", &name)?;
            line.serialize_entry("logging.googleapis.com/spanId", span_id)?;
            line.serialize_entry("logging.googleapis.com/trace_sampled", &(flags == "01"))?;
        }
        line.end()
    }
}

/// The fields by which metrics are counted.
struct Labels<'a>(&'a Fields);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = ["eventType", "outcome", "service"];
        serializer.collect_map(names.into_iter().filter_map(|name| Some((name, self.0.get(name)?))))
    }
}

/// The time, the level, the service, the message, and the other fields. Fields that only help queries are
/// omitted.
fn for_people(level: Level, fields: &Fields) -> String {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = jiff::Timestamp::now().strftime("%H:%M:%S").to_string();
    let mut line = format!("{time} {level:>5} {:<22} {}", text("service"), text("message"));
    for (name, value) in &fields.0 {
        match (*name, value) {
            ("service" | "message" | "outcome" | "subscription" | TRACEPARENT, _) => {}
            (name, Value::String(text)) => line.extend([" ", name, "=", text]),
            (name, value) => line += &format!(" {name}={value}"),
        }
    }
    escaped(line)
}

/// Otherwise a value from outside could end the line and begin another, or change the terminal.
fn escaped(line: String) -> String {
    if !line.contains(char::is_control) {
        return line;
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for char in line.chars() {
        if char.is_control() { escaped.extend(char.escape_default()) } else { escaped.push(char) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::trace::Trace;

    #[test]
    fn a_filter_names_levels_that_exist() {
        for (filter, shown) in [
            ("info", Some("pushbox ERROR, pushbox INFO, firestore ERROR, firestore INFO")),
            ("WARN", Some("pushbox ERROR, firestore ERROR")),
            ("off", Some("")),
            ("info, firestore=off", Some("pushbox ERROR, pushbox INFO")),
            ("pushbox=debug", Some("pushbox ERROR, pushbox INFO, pushbox DEBUG")),
            ("inof", None),
            ("info,", None),
            ("", None),
            ("info,pushbox", None),
            ("info,pushbox=debgu", None),
            ("info,pushbox=", None),
            ("info,=debug", None),
            ("info,push box=debug", None),
            ("info;pushbox=debug", None),
            ("info,pushbox=debug=trace", None),
        ] {
            let modules = ["pushbox", "firestore"];
            let lines = modules
                .iter()
                .flat_map(|module| [Level::ERROR, Level::INFO, Level::DEBUG].map(|level| (*module, level)));
            let passed = targets(filter).map(|targets| {
                let passed = lines.filter(|(module, level)| targets.would_enable(module, level));
                passed.map(|(module, level)| format!("{module} {level}")).collect::<Vec<_>>().join(", ")
            });
            assert_eq!(passed.as_deref(), shown.ok_or(&InvalidFilter), "{filter:?}");
        }
    }

    #[test]
    fn a_line_has_the_names_that_cloud_logging_looks_for() {
        let trace = Trace::of_request(&HeaderMap::new());
        let (trace_id, span_id) = (format!("{:032x}", trace.trace_id), format!("{:016x}", trace.span_id));
        let fields = &Fields(vec![
            ("service", "crm-service".into()),
            (TRACEPARENT, trace.to_string().into()),
            ("outcome", "a span's".into()),
            ("message", "delivery: handled".into()),
            ("outcome", "handled".into()),
        ]);
        let line = CloudLine { project: "p", level: Level::WARN, target: "pushbox::http", fields };
        let expected = json!({
            "severity": "WARNING", "message": "delivery: handled", "target": "pushbox::http",
            "service": "crm-service", "outcome": "handled",
            "logging.googleapis.com/labels": { "service": "crm-service", "outcome": "handled" },
            "logging.googleapis.com/trace": format!("projects/p/traces/{trace_id}"),
            "logging.googleapis.com/spanId": span_id,
            "logging.googleapis.com/trace_sampled": false,
        });
        let line = serde_json::to_string(&line).expect("JSON");
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), expected);
        assert_eq!(line.matches("a span's").count(), 0, "no name comes twice");
    }

    #[test]
    fn a_line_for_people_is_short() {
        let fields = Fields(vec![
            ("service", "crm-service".into()),
            (TRACEPARENT, "00-…".into()),
            ("message", "delivery: retry".into()),
            ("key", "k".into()),
            ("messageId", "7".into()),
            ("subscription", "s".into()),
            ("attempt", 1.into()),
            ("reason", "no answer".into()),
        ]);
        let line = for_people(Level::WARN, &fields);
        assert_eq!(
            &line[9..],
            " WARN crm-service            delivery: retry key=k messageId=7 attempt=1 reason=no answer"
        );
    }

    #[test]
    fn a_value_neither_ends_the_line_nor_reaches_the_terminal() {
        let fields = Fields(vec![
            ("service", "crm-service".into()),
            ("message", "delivery: reject".into()),
            ("eventType", "x\r\n12:00:00  INFO user-service \u{1b}[2Jß\u{9b}".into()),
        ]);
        let line = for_people(Level::WARN, &fields);
        assert!(line.ends_with(r"eventType=x\r\n12:00:00  INFO user-service \u{1b}[2Jß\u{9b}"), "{line}");
    }
}
