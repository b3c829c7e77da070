//! Places at which a test can kill the process, to see what the next one makes of it.

/// Holds the task for ever if the variable `FAULT_POINT` names this place, and logs that it does, so
/// that a test can kill the process just there. Does nothing in a release build.
pub(crate) async fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("FAULT_POINT").is_ok_and(|fault| fault == name) {
        tracing::warn!("fault point {name} reached");
        std::future::pending::<()>().await;
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
