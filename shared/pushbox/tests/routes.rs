//! A service's own routes: errors, lists and limits.

use std::collections::BTreeSet;

use axum::{
    Json, Router,
    extract::Path,
    http::Method,
    routing::{get, post},
};
use pushbox::{Command, Documents, FieldErrors, Page, PageQuery, Problem, Reply, Service};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::suite::{Count, World, count, request, service};

#[derive(Deserialize)]
struct NewCount {
    id: String,
    #[serde(default)]
    n: String,
}

async fn create(command: Command<NewCount>) -> Result<Reply, Problem> {
    let mut errors = FieldErrors::default();
    if command.body.id.is_empty() {
        errors.note("/id", "an id is not empty");
    }
    let n = errors.parse::<i64>("/n", &command.body.n);
    let (Some(n), false) = (n, command.body.id.is_empty()) else { return Err(errors.into()) };
    let new = count(&command.body.id, n);
    command
        .run(new, |new, cx| async move {
            cx.put(&new);
            Ok(Reply::created(&new).at(format!("counts/{}", new.id)))
        })
        .await
}

async fn one(documents: Documents, Path(id): Path<String>) -> Result<Json<Count>, Problem> {
    documents.get(&id).await?.map(Json).ok_or_else(|| Problem::not_found("count"))
}

async fn list(documents: Documents, page: PageQuery) -> Result<Json<Page<Count>>, Problem> {
    documents.page(vec![], &page).await.map(Json)
}

async fn panics() -> String {
    panic!("told to")
}

fn counts() -> Service {
    service().routes(
        Router::new()
            .route("/counts", post(create).get(list))
            .route("/counts/{id}", get(one))
            .route("/numbers/{n}", get(|Path(n): Path<u8>| async move { n.to_string() }))
            .route("/panics", get(panics)),
    )
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let running = World::new().run(counts());
    for (method, path, status) in [
        (Method::GET, "/nowhere", 404),
        (Method::DELETE, "/counts", 405),
        (Method::GET, "/", 405),
        (Method::GET, "/relay", 405),
        (Method::GET, "/counts/none", 404),
        (Method::GET, "/numbers/many", 400),
        (Method::GET, "/counts?limit=0", 400),
        (Method::GET, "/counts?limit=201", 400),
        (Method::GET, "/counts?limit=ten", 400),
        (Method::GET, "/counts?cursor=%25%25", 400),
        (Method::GET, "/panics", 500),
    ] {
        let answer = running.send(request(method.clone(), path, &[], "")).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        answer.is_problem(status);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    assert_eq!(running.get("/healthz").await.text, "ok");
}

#[tokio::test]
async fn a_bad_body_is_told_field_by_field() {
    let running = World::new().run(counts());
    for (body, status, pointers) in [
        ("nonsense", 400, vec!["#"]),
        ("", 400, vec!["#"]),
        (r#"["a","1"]"#, 422, vec!["#"]),
        (r#"{"n":"1"}"#, 422, vec!["#"]),
        (r#"{"id":"a","n":7}"#, 422, vec!["#/n"]),
        (r#"{"id":"","n":"x"}"#, 422, vec!["#/id", "#/n"]),
    ] {
        let answer = running.send(request(Method::POST, "/counts", &[], body)).await;
        answer.is_problem(status);
        let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
        assert_eq!(found, pointers, "{body}");
        assert!(
            errors.iter().all(|error| !error["detail"].as_str().unwrap_or_default().is_empty()),
            "{body}"
        );
    }
    let large = json!({ "id": "x".repeat(300 << 10), "n": "1" });
    running.post("/counts", &[], &large).await.is_problem(413);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let running = World::new().run(counts());
    let ids: BTreeSet<String> = (0..7).map(|n| format!("c{n}")).collect();
    for id in &ids {
        let answer = running.post("/counts", &[], &json!({ "id": id, "n": "1" })).await;
        assert_eq!((answer.status, answer.header("location")), (201, Some(&*format!("counts/{id}"))));
    }
    for limit in [1, 3, 7, 8] {
        let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = running.get(&format!("/counts?limit={limit}{cursor}")).await.body;
            let items = page["items"].as_array().expect("items").clone();
            assert!(items.len() <= limit);
            seen.extend(items.iter().filter_map(|item| Some(item["id"].as_str()?.to_owned())));
            pages += 1;
            let Value::String(next) = &page["next"] else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((seen, pages), (ids.iter().cloned().collect(), 7_usize.div_ceil(limit)), "{limit}");
    }
}
