//! Fault points: places at which a test can kill the process.

/// If the variable `FAULT_POINT` names this place, logs that and waits without end, so that a test can kill
/// the process here. Does nothing in a release build.
pub(crate) async fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("FAULT_POINT").is_ok_and(|fault| fault == name) {
        tracing::warn!("fault point {name} reached");
        std::future::pending::<()>().await;
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
