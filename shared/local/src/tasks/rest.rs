//! The part of [Cloud Tasks' REST API](https://cloud.google.com/tasks/docs/reference/rest) that the runtime's adapter
//! and these commands need:
//!
//! - `gcloud tasks queues list|describe|create|purge`
//! - `gcloud tasks list|describe|create-http-task|delete|run`
//!
//! It accepts any project and location, because there is only one.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::Method,
    routing::any,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Refused, Tasks, Work,
    queues::{Queues, Task},
};
use crate::rest::{ApiError, decode, parse};

/// In bytes. A task has at most 1 MB, and its body comes in base64.
const LARGEST_BODY: usize = 2 << 20;

/// The most tasks of a page.
const MOST_LISTED: usize = 1000;

/// All routes below `/v2`.
pub(super) fn router(tasks: Tasks) -> Router {
    Router::new().route("/v2/{*call}", any(call)).layer(DefaultBodyLimit::max(LARGEST_BODY)).with_state(tasks)
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UnknownQueue(_) | Refused::UnknownTask(_) => Self::not_found(refused),
            Refused::Exists(_) | Refused::QueueExists(_) => Self::already_exists(refused),
            Refused::TooFar | Refused::InvalidName => Self::invalid(refused),
            Refused::Full(_) => Self::exhausted(refused),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    page_size: usize,
    #[serde(default)]
    page_token: String,
}

async fn call(
    State(tasks): State<Tasks>,
    method: Method,
    path: Result<Path<String>, PathRejection>,
    page: Result<Query<Page>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let (Path(path), Query(page), body) =
        (path?, page.map_err(|error| ApiError::invalid(error.body_text()))?, body?);
    let segments: Vec<&str> = path.split('/').collect();
    let unknown = || ApiError::not_found(format_args!("there is no {method} /v2/{path} here"));
    let ["projects", project, "locations", location, "queues", ref resource @ ..] = *segments else {
        return Err(unknown());
    };
    let names = Names { parent: format!("projects/{project}/locations/{location}/queues") };
    match (&method, resource) {
        (&Method::GET, []) => {
            let queues =
                tasks.with(|queues, _| queues.names().map(|queue| names.queue(queue)).collect::<Vec<_>>());
            Ok(Json(json!({ "queues": queues })))
        }
        (&Method::POST, []) => {
            let queue: NewQueue = parse(&body)?;
            let id = queue.name.rsplit('/').next().unwrap_or_default();
            tasks.with(|queues, _| queues.add(id))?;
            Ok(Json(names.queue(id)))
        }
        (&Method::GET, [queue]) => {
            tasks.with(|queues, _| queues.tasks(queue).map(drop))?;
            Ok(Json(names.queue(queue)))
        }
        (&Method::POST, [call]) => match call.split_once(':') {
            Some((queue, "purge")) => {
                tasks.with(|queues, _| queues.purge(queue))?;
                Ok(Json(names.queue(queue)))
            }
            _ => Err(unknown()),
        },
        (&Method::GET, [queue, "tasks"]) => tasks.with(|queues, _| names.page(queues, queue, &page)),
        (&Method::POST, [queue, "tasks"]) => create(&tasks, &names, queue, parse(&body)?),
        (&Method::GET, [queue, "tasks", id]) => {
            Ok(Json(tasks.with(|queues, _| queues.get(queue, id).map(|task| names.task(queue, task)))?))
        }
        (&Method::DELETE, [queue, "tasks", id]) => {
            tasks.with(|queues, _| queues.delete(queue, id))?;
            Ok(Json(json!({})))
        }
        (&Method::POST, [queue, "tasks", call]) => match call.split_once(':') {
            Some((id, "run")) => {
                let run =
                    |queues: &mut Queues, now| queues.run(queue, id, now).map(|task| names.task(queue, task));
                Ok(Json(tasks.with(run)?))
            }
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

#[derive(Deserialize)]
struct NewQueue {
    name: String,
}

#[derive(Deserialize)]
struct Create {
    task: NewTask,
}

/// <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks#Task>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewTask {
    #[serde(default)]
    name: String,
    schedule_time: Option<Timestamp>,
    http_request: Option<NewRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewRequest {
    url: String,
    #[serde(default)]
    http_method: HttpMethod,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

/// Clients send its name or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum HttpMethod {
    Name(String),
    Number(usize),
}

impl Default for HttpMethod {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl HttpMethod {
    fn name(self) -> Option<String> {
        const NAMES: [&str; 8] = ["POST", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"];
        match self {
            Self::Number(number) => NAMES.get(number).map(|name| (*name).to_owned()),
            Self::Name(name) => NAMES.contains(&name.as_str()).then_some(name),
        }
    }
}

/// <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks/create>
fn create(
    tasks: &Tasks,
    names: &Names,
    queue: &str,
    Create { task }: Create,
) -> Result<Json<Value>, ApiError> {
    let request =
        task.http_request.ok_or_else(|| ApiError::unimplemented("a task needs an httpRequest here"))?;
    if !["http://", "https://"].iter().any(|scheme| request.url.starts_with(scheme)) {
        return Err(ApiError::invalid("the url must begin with http:// or https://"));
    }
    let prefix = format!("{}/{queue}/tasks/", names.parent);
    let id = match task.name.strip_prefix(&prefix) {
        Some(id) => Some(id),
        None if task.name.is_empty() => None,
        None => {
            return Err(ApiError::invalid(format_args!(
                "the name of a task in this queue begins with {prefix}"
            )));
        }
    };
    let work = Work::Request {
        method: request.http_method.name().ok_or_else(|| ApiError::invalid("the httpMethod is unknown"))?,
        url: request.url,
        headers: request.headers,
        body: decode(&request.body)?.into(),
    };
    let created = tasks.with(|queues, now| {
        let at = task.schedule_time.unwrap_or(now);
        queues.create(queue, id, at, work, now).map(|task| names.task(queue, task))
    });
    Ok(Json(created?))
}

/// The caller's names for the project and the location.
struct Names {
    parent: String,
}

impl Names {
    fn queue(&self, queue: &str) -> Value {
        json!({ "name": format!("{}/{queue}", self.parent), "state": "RUNNING" })
    }

    fn task(&self, queue: &str, task: &Task) -> Value {
        let request = match &task.work {
            Work::Request { method, url, headers, body } => {
                json!({ "url": url, "httpMethod": method, "headers": headers, "body": BASE64_STANDARD.encode(body) })
            }
            Work::Publish(message) => {
                let url = format!(
                    "https://pubsub.googleapis.com/v1/projects/local/topics/{}:publish",
                    message.topic
                );
                json!({ "url": url, "httpMethod": "POST" })
            }
        };
        json!({
            "name": format!("{}/{queue}/tasks/{}", self.parent, task.id),
            "httpRequest": request,
            "scheduleTime": task.scheduled.to_string(),
            "createTime": task.created.to_string(),
            "dispatchCount": task.attempts,
            "view": "FULL",
        })
    }

    fn page(&self, queues: &Queues, queue: &str, page: &Page) -> Result<Json<Value>, ApiError> {
        let size = if page.page_size == 0 { MOST_LISTED } else { page.page_size.min(MOST_LISTED) };
        let after = queues.tasks(queue)?.iter().filter(|(id, _)| **id > page.page_token);
        let found: Vec<_> = after.take(size + 1).collect();
        let listed: Vec<Value> = found.iter().take(size).map(|(_, task)| self.task(queue, task)).collect();
        let next = if found.len() > size { found[size - 1].0.as_str() } else { "" };
        Ok(Json(json!({ "tasks": listed, "nextPageToken": next })))
    }
}
