//! `/_local/send`: a form for each type of event, made from its JSON schema, with an example.

use axum::{
    body::{Body, to_bytes},
    extract::{Path, Query, Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{CONTENT_TYPE, HOST},
    },
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use catalog::EventEntry;
use maud::{Markup, html};
use pushbox::{Problem, wire::attribute};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::{
    badges::{folded_command, quoted},
    events::recent,
    form::{Form, done},
    layout::{View, heading, page},
};
use crate::{Stack, broker::event_type};

/// The source of events from this form.
const SOURCE: &str = "//pushbox/console";

#[derive(Deserialize)]
pub(super) struct Chosen {
    r#type: Option<String>,
    /// The message whose data the form begins with.
    from: Option<String>,
}

pub(super) async fn show(State(stack): State<Stack>, Query(chosen): Query<Chosen>) -> Response {
    let events = &stack.catalog.events;
    let recent = recent(&stack);
    let from = chosen.from.and_then(|id| recent.into_iter().find(|event| event.message.id() == id));
    let named = from.as_ref().and_then(|event| event_type(&event.message)).or(chosen.r#type);
    // The story begins with the first event of the first service.
    let named = named
        .or_else(|| stack.catalog.services.iter().find_map(|service| service.publishes.first()).cloned());
    let entry = events.iter().find(|entry| Some(&entry.r#type) == named.as_ref()).or(events.first());
    let example = |entry: &EventEntry| {
        let text = stack.extras.examples.get(&entry.r#type);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let data = from.as_ref().and_then(|event| serde_json::from_slice(&event.message.data).ok());
    let content = html! {
        (heading("Send", html! { "Publish an event as if a service had done it. Every subscriber gets it." }))
        div.split {
            nav.types aria-label="Types of events" {
                @for topic in &stack.catalog.topics {
                    h2 { (topic.name) }
                    ul {
                        @for name in &topic.events {
                            li { a href=(format!("/_local/send?type={name}")) aria-current=[entry.is_some_and(|entry| entry.r#type == *name).then_some("true")] { (name) } }
                        }
                    }
                }
            }
            @if let Some(entry) = entry { (form_of(&stack, entry, &data.unwrap_or_else(|| example(entry)))) }
        }
    };
    page(&stack, View::Send, "Send", &content)
}

/// The kind of input that a field of an event needs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Input {
    Text,
    Number,
    /// Anything else, as JSON.
    Json,
}

fn form_of(stack: &Stack, entry: &EventEntry, data: &Map<String, Value>) -> Markup {
    let handled_by = entry.handled_by.join(", ");
    let mut whole = data.clone();
    whole.insert("event".to_owned(), entry.r#type.clone().into());
    let body = json!({ "messages": [{ "data": STANDARD.encode(Value::Object(whole).to_string()) }] });
    let url = format!("{}/v1/projects/local/topics/{}:publish", stack.base(), entry.topic);
    let command = format!("curl {url} -H 'Content-Type: application/json' -d {}", quoted(&body.to_string()));
    html! {
        form.card.event-form method="post" action=(format!("/_local/send/{}", entry.r#type)) data-action {
            h2 { (entry.r#type) }
            @if let Some(about) = entry.schema["description"].as_str() { p { (about) } }
            p.hint { "To " (entry.topic) ". Handled by " (if handled_by.is_empty() { "nobody" } else { &handled_by }) "." }
            @for (name, schema) in fields(&entry.schema) {
                @let value = data.get(name);
                @let is_required = is_required(&entry.schema, name);
                label {
                    span.field { (name) @if !is_required { small { "optional" } } }
                    @match input(&entry.schema, schema) {
                        Input::Text => input type="text" name=(name) value=[value.and_then(Value::as_str)] required[is_required];,
                        Input::Number => input type="number" step="any" name=(name) value=[value.map(Value::to_string)] required[is_required];,
                        Input::Json => textarea name=(name) rows="5" spellcheck="false" { (value.map(|value| serde_json::to_string_pretty(value).unwrap_or_default()).unwrap_or_default()) },
                    }
                    @if let Some(about) = about(&entry.schema, schema) { small.hint { (about) } }
                }
            }
            div.controls { button.primary { "Send" } }
            (folded_command(&command))
        }
    }
}

/// The fields that the schema names.
fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten().filter(|(name, _)| *name != "event")
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().into_iter().flatten().any(|required| required == name)
}

/// The schema that a reference leads to.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// The field's own description, or else the first sentence about its type.
fn about<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a str> {
    let of_type = || resolved(root, schema)["description"].as_str()?.split_inclusive(". ").next();
    schema["description"].as_str().or_else(of_type)
}

fn input(root: &Value, schema: &Value) -> Input {
    let of_type = |name: Option<&str>| match name {
        Some("string") => Input::Text,
        Some("integer" | "number") => Input::Number,
        _ => Input::Json,
    };
    let schema = resolved(root, schema);
    match &schema["type"] {
        Value::String(name) => of_type(Some(name)),
        // An optional field is a type or null.
        Value::Array(names) => of_type(names.iter().filter_map(Value::as_str).find(|name| *name != "null")),
        _ => Input::Json,
    }
}

/// Publishes the event in the form.
pub(super) async fn send(
    State(stack): State<Stack>,
    Path(name): Path<String>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Problem> {
    let found = stack.catalog.events.iter().find(|entry| entry.r#type == name);
    let entry = found.ok_or_else(|| Problem::not_found(format_args!("type of event: {name}")))?;
    let data = data(entry, &form)?;
    let now = stack.now();
    let attributes = json!({
        attribute::SPEC_VERSION: "1.0",
        attribute::ID: format!("console-{}", now.as_nanosecond()),
        attribute::SOURCE: SOURCE,
        attribute::TYPE: name,
        attribute::TIME: now,
        attribute::CONTENT_TYPE: "application/json",
    });
    let message = json!({ "data": STANDARD.encode(data.to_string()), "attributes": attributes });
    let publish = Request::builder()
        .method(Method::POST)
        .uri(format!("/v1/projects/local/topics/{}:publish", entry.topic))
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "messages": [message] }).to_string()));
    let publish = publish.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    let answer = stack.app().oneshot(publish).await.unwrap_or_else(|never| match never {});
    let status = answer.status();
    if !status.is_success() {
        let body = to_bytes(answer.into_body(), 64 << 10).await.unwrap_or_default();
        return Err(Problem::new(status, String::from_utf8_lossy(&body)));
    }
    Ok(done(&headers, &format!("{name} is published.")))
}

/// The data of the event: each field in the type that its schema wants.
fn data(entry: &EventEntry, form: &Form) -> Result<Value, Problem> {
    let mut data = Map::new();
    for (name, schema) in fields(&entry.schema) {
        let Some(text) = form.text(name) else { continue };
        let value = match input(&entry.schema, schema) {
            Input::Text => Ok(Value::from(text)),
            Input::Number | Input::Json => serde_json::from_str(text),
        };
        let wrong =
            |error| Problem::new(StatusCode::BAD_REQUEST, format_args!("{name} is not JSON: {error}"));
        data.insert(name.clone(), value.map_err(wrong)?);
    }
    data.insert("event".to_owned(), entry.r#type.clone().into());
    Ok(data.into())
}
