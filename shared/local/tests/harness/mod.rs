//! What the tests of both consoles share.

use std::time::Duration;

use events::UserCreated;
use pushbox::{Command, Context, Failure, Problem, Reply, Service};
use serde_json::{Value, json};

/// Signs users up.
pub(crate) fn user_service() -> Service {
    async fn sign_up(command: Command<Value>) -> Result<Reply, Problem> {
        let user: UserCreated = serde_json::from_value(command.body.clone()).map_err(Failure::from)?;
        let publish = |user, cx: Context| async move {
            cx.publish(&user);
            Ok(Reply::accepted(&json!({})))
        };
        command.run(user, publish).await
    }
    Service::new("user-service", "signs users up").public().publishes::<UserCreated>().post("/users", sign_up)
}

/// Repeats the look until it finds something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("timed out waiting: {what}"))
}
