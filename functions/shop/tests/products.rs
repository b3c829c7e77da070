//! The list of products, page by page.

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use effects::{mail::Mailer, payments::Gateway};
use pushbox::{
    Message, Ports, PushAuth,
    publisher::{PublishError, Publisher},
    store::Memory,
};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Nowhere;

#[async_trait]
impl Publisher for Nowhere {
    async fn publish(&self, _: Message) -> Result<String, PublishError> {
        Ok("1".to_owned())
    }
}

/// order-service with an empty store.
fn order_service(stock_shards: u64) -> Router {
    let ports = Ports::new(Arc::new(Memory::default()), Arc::new(Nowhere));
    let mailer = Mailer::local(Arc::clone(&ports.store), ports.clock.clone());
    let gateway = Gateway::local(Arc::clone(&ports.store), ports.clock.clone());
    let system = shop::system(shop::Config { mailer, gateway, stock_shards });
    let service = system.services.into_iter().find(|service| service.name() == "order-service");
    service.expect("order-service").app(ports, PushAuth::None)
}

async fn send(app: &Router, request: Request<Body>) -> Value {
    let answer = app.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    assert!(answer.status().is_success(), "{answer:?}");
    let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

async fn list(app: &Router, query: &str) -> Value {
    send(app, Request::get(format!("/products?{query}")).body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn each_page_has_complete_products_and_the_cursor_of_the_next_page() {
    let app = order_service(3);
    let stock = [("cup", 7), ("pot", 2), ("tea", 100)];
    for (sku, stock) in stock {
        let body = json!({ "name": sku, "price": { "minor": 1250, "currency": "eur" }, "stock": stock });
        let put = Request::put(format!("/products/{sku}")).body(Body::from(body.to_string()));
        send(&app, put.expect("a request")).await;
    }
    let expected = stock.map(|(sku, free)| (json!(sku), json!({ "free": free, "held": 0, "sold": 0 })));
    for limit in 1..=4 {
        let mut found = Vec::new();
        let mut query = format!("limit={limit}");
        loop {
            let page = list(&app, &query).await;
            let items = page["items"].as_array().expect("items");
            assert!((1..=limit).contains(&items.len()), "limit {limit}: {page}");
            found.extend(items.iter().map(|item| (item["sku"].clone(), item["stock"].clone())));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("limit={limit}&cursor={next}");
        }
        assert_eq!(found, expected, "limit {limit}");
    }
}
