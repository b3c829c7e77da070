//! A service's own routes: errors, lists, limits and CORS.

use std::collections::BTreeSet;

use axum::{Json, body::Body, extract::Path, http::Method};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pushbox::{Command, Documents, FieldErrors, Origins, Page, PageQuery, Problem, Reply, Service};
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

#[derive(Deserialize)]
struct Filter {
    id: Option<String>,
    at: Option<jiff::Timestamp>,
}

async fn filtered(documents: Documents, page: PageQuery<Filter>) -> Result<Json<Page<Count>>, Problem> {
    let Filter { id, at } = &page.filter;
    assert!(at.is_none_or(|at| at.as_second() > 0));
    let id = id.as_ref().map(|id| ("id", id.as_str().into()));
    documents.page(id.into_iter().collect(), &page).await.map(Json)
}

async fn panics() -> String {
    panic!("injected")
}

fn counts() -> Service {
    service()
        .post("/counts", create)
        .get("/counts", list)
        .get("/filtered", filtered)
        .get("/counts/{id}", one)
        .get("/numbers/{n}", |Path(n): Path<u8>| async move { n.to_string() })
        .get("/panics", panics)
}

#[tokio::test]
async fn every_error_has_a_problem_body() {
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
        (Method::GET, "/counts?Limit=2", 400),
        (Method::GET, "/counts?limit=1&limit=2", 400),
        (Method::GET, "/counts?id=a", 400),
        (Method::GET, "/filtered?ID=a", 400),
        (Method::GET, "/filtered?id=a&n=1", 400),
        (Method::GET, "/filtered?id=a&id=b", 400),
        (Method::GET, "/counts/__reserved__", 404),
        (Method::GET, "/panics", 500),
    ] {
        let answer = running.send(request(method.clone(), path, &[], "")).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        answer.assert_problem(status);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    assert_eq!(running.get("/healthz").await.text, "ok");
}

#[tokio::test]
async fn an_invalid_body_gets_an_error_for_each_field() {
    let running = World::new().run(counts());
    for (body, status, pointers) in [
        ("nonsense", 400, vec!["#"]),
        ("", 422, vec!["#"]),
        (r#"["a","1"]"#, 422, vec!["#"]),
        (r#"{"n":"1"}"#, 422, vec!["#"]),
        (r#"{"id":"a","n":7}"#, 422, vec!["#/n"]),
        (r#"{"id":"","n":"x"}"#, 422, vec!["#/id", "#/n"]),
    ] {
        let answer = running.send(request(Method::POST, "/counts", &[], body)).await;
        answer.assert_problem(status);
        let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
        assert_eq!(found, pointers, "{body}");
        assert!(
            errors.iter().all(|error| !error["detail"].as_str().unwrap_or_default().is_empty()),
            "{body}"
        );
    }
    let large = json!({ "id": "x".repeat(300 << 10), "n": "1" });
    running.post("/counts", &[], &large).await.assert_problem(413);
}

/// Firestore refuses such queries with an error that looks like an outage.
#[tokio::test]
async fn refuses_cursors_and_filter_values_that_no_document_can_have() {
    let running = World::new().run(counts());
    let cursor = |id: &str| format!("/counts?cursor={}", URL_SAFE_NO_PAD.encode(id));
    let value = |length: usize| format!("/filtered?id={}", "x".repeat(length));
    for (path, status) in [
        (cursor("__x__"), 400),
        (cursor("."), 400),
        (cursor(".."), 400),
        (cursor("a/b"), 400),
        (cursor(""), 400),
        (cursor(&"x".repeat(1501)), 400),
        (cursor(&"x".repeat(1500)), 200),
        (cursor("__x"), 200),
        (value(1501), 400),
        (value(1500), 200),
    ] {
        assert_eq!(running.get(&path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_document_is_found_by_any_id_with_which_it_is_stored() {
    let running = World::new().run(counts());
    let longest = "x".repeat(1500);
    for id in ["a", "a/b", "/", ".", "..", "__x__", "%2F", "%", &longest] {
        let answer = running.post("/counts", &[], &json!({ "id": id, "n": "1" })).await;
        assert_eq!(answer.status, 201, "{id}: {answer:?}");
        let path = format!("/counts/{}", id.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>());
        let answer = running.get(&path).await;
        assert_eq!((answer.status, &answer.body), (200, &json!({ "id": id, "n": 1 })), "{path}");
    }
    // Firestore has a limit for the id that is stored.
    for id in ["x".repeat(1501), "%2F".repeat(501)] {
        running.get(&format!("/counts/{id}")).await.assert_problem(404);
    }
}

#[tokio::test]
async fn a_query_error_names_the_parameter_but_not_its_value() {
    let running = World::new().run(counts());
    for (query, detail) in [
        ("Limit=2", "The query parameter Limit is unknown."),
        ("at=secret", "The query parameter at is not valid."),
        ("limit=secret", "limit goes from 1 to 200."),
        ("id=a&id=secret", "id comes more than once."),
    ] {
        let answer = running.get(&format!("/filtered?{query}")).await;
        assert_eq!((answer.status, answer.body["detail"].as_str()), (400, Some(detail)), "{query}");
    }
    for id in ["a", "b"] {
        running.post("/counts", &[], &json!({ "id": id, "n": "1" })).await;
    }
    let found = running.get("/filtered?id=b&limit=5&at=2026-11-20T12:00:00Z").await.body;
    assert_eq!(found, json!({ "items": [{ "id": "b", "n": 1 }] }));
}

#[tokio::test]
async fn accepts_only_uncompressed_json() {
    let running = World::new().run(counts());
    for (name, value, status) in [
        ("content-type", "application/json", 201),
        ("content-type", "Application/JSON; charset=utf-8", 201),
        ("content-type", "application/vnd.count+json", 201),
        ("content-type", "text/plain", 415),
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-type", "application/jsonp", 415),
        ("content-type", "", 415),
        ("content-encoding", "identity", 201),
        ("content-encoding", "gzip", 415),
    ] {
        let body = json!({ "id": "a", "n": "1" });
        let answer = running.post("/counts", &[(name, value)], &body).await;
        assert_eq!(answer.status, status, "{name}: {value}");
        if status == 415 {
            answer.assert_problem(415);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_arrives_times_out() {
    let body = Body::from_stream(futures::stream::pending::<std::io::Result<&str>>());
    let answer = World::new().run(counts()).send(request(Method::POST, "/counts", &[], body)).await;
    answer.assert_problem(408);
}

#[tokio::test]
async fn only_allowed_origins_get_the_cors_headers() {
    let run = |service: Service| World::new().run(service);
    let origins: Option<Origins> = "https://shop.example,http://localhost:3000".parse().ok();
    let closed = run(counts().public());
    let private = run(counts().allow_origins(origins.clone()));
    let open = run(counts().public().allow_origins(origins.clone()));
    let with_cookies = run(counts().public().cookies().allow_origins(origins));
    for (running, origin, is_allowed, sends_cookies) in [
        (&closed, "https://shop.example", false, false),
        (&private, "https://shop.example", false, false),
        (&open, "https://shop.example", true, false),
        (&open, "http://localhost:3000", true, false),
        (&open, "https://shop.example.evil.example", false, false),
        (&open, "null", false, false),
        (&with_cookies, "https://shop.example", true, true),
        (&with_cookies, "https://evil.example", false, true),
    ] {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,idempotency-key"),
        ];
        let allowed = is_allowed.then_some(origin);
        let preflight = running.send(request(Method::OPTIONS, "/counts", &headers, "")).await;
        assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{origin}");
        let answer = running.send(request(Method::GET, "/counts/none", &headers[..1], "")).await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
        for answer in [&preflight, &answer] {
            let credentials = answer.header("access-control-allow-credentials");
            assert_eq!(credentials, sends_cookies.then_some("true"), "{origin}");
        }
        for (answer, name, value) in [
            (&preflight, "access-control-allow-headers", "authorization,content-type,idempotency-key"),
            (&preflight, "access-control-allow-methods", "GET,POST,PUT,PATCH,DELETE"),
            (&answer, "access-control-expose-headers", "location,retry-after"),
        ] {
            // Browsers read these lists only if the origin is allowed.
            assert!(!is_allowed || answer.header(name) == Some(value), "{origin} {name}: {answer:?}");
        }
        answer.assert_problem(404);
    }
}

#[tokio::test]
async fn the_pages_of_a_list_contain_each_item_once() {
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
