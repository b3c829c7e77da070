//! The users of another issuer than auth-service.

use axum::http::Method;
use events::{SessionId, UserId};
use serde_json::{Value, json};

use crate::market::{Market, ORDERS, TICKETS, price};

/// A user who can read can also order, and an event can end each session that a token names.
#[tokio::test(start_paused = true)]
async fn each_route_accepts_the_same_users() {
    let market = Market::new();
    let longest = "x".repeat(128 - "session-of-".len());
    for (user, is_valid) in [
        ("ann", true),
        ("7:01JD.9_x-y", true),
        (longest.as_str(), true),
        ("auth0|1", false),
        ("a/b", false),
        ("ann@example.com", false),
        ("-ann", false),
        ("_ann", false),
        ("..", false),
    ] {
        let session = format!("session-of-{user}").parse::<SessionId>();
        assert_eq!(
            (user.parse::<UserId>().is_ok(), session.is_ok() || !is_valid),
            (is_valid, true),
            "{user}"
        );
        let offer = json!({ "title": "Ghost, Friday", "price": price(4500) });
        let (command, _) = market.call(user, TICKETS, Method::POST, "/tickets", offer).await;
        let (list, _) = market.call(user, ORDERS, Method::GET, "/orders", Value::Null).await;
        assert_eq!((command, list), if is_valid { (201, 200) } else { (401, 401) }, "{user}");
    }
}
