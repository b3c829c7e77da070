//! The examples do what their comments say.

use serde_json::json;

use crate::suite::World;

#[expect(dead_code, reason = "the test needs only its service")]
#[path = "../examples/producer.rs"]
mod producer;

#[tokio::test]
async fn the_producer_creates_one_user_for_each_key() {
    let world = World::new();
    let running = world.run(producer::service());
    for key in ["1", "1", "2"] {
        let answer = running.post("/users", &[("idempotency-key", key)], &json!({ "name": "Ada" })).await;
        let id = answer.body["id"].as_str().expect("an id");
        // Relative to the request's path.
        assert_eq!((answer.status, answer.header("location")), (201, Some(&*format!("users/{id}"))), "{key}");
    }
    assert_eq!((world.published.len(), world.store.take_calls().1), (2, 1), "only the repeat reads");
}
