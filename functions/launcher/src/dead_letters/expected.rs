//! How many letters there should be, by Cloud Monitoring.

use std::time::Duration;

use catalog::Catalog;
use jiff::Timestamp;
use redrive::Monitoring;
use tokio::time::timeout;

/// How long the command waits for Cloud Monitoring, which only adds a figure.
const DEADLINE: Duration = Duration::from_secs(10);

/// The number of letters of all services, or of one, a few minutes ago. `None` if Cloud Monitoring has no figure.
pub(super) async fn expected(
    monitoring: &Monitoring,
    catalog: &Catalog,
    service: Option<&str>,
) -> Result<Option<u64>, String> {
    let backlogs = timeout(DEADLINE, monitoring.backlogs(Timestamp::now())).await;
    let backlogs = backlogs.map_err(|_| "Cloud Monitoring does not answer".to_owned())??;
    let services = catalog.services.iter().filter(|entry| service.is_none_or(|only| entry.name == only));
    let found = services.filter_map(|entry| backlogs.get(&entry.dead_letter_topic));
    Ok(found.map(|backlog| backlog.messages).reduce(|sum, messages| sum + messages))
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, extract::Path, http::StatusCode, routing::get};
    use redrive::Names;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::systems;

    /// Cloud Monitoring's answer.
    async fn time_series(Path(project): Path<String>) -> (StatusCode, Json<Value>) {
        let series = |name: &str, messages: &str| {
            json!({
                "resource": { "labels": { "subscription_id": name } },
                "points": [{ "value": { "int64Value": messages } }],
            })
        };
        match project.as_str() {
            "forbidden" => {
                let error = json!({ "error": { "message": "Permission monitoring.timeSeries.list denied" } });
                (StatusCode::FORBIDDEN, Json(error))
            }
            "new" => (StatusCode::OK, Json(json!({}))),
            "silent" => std::future::pending().await,
            _ => {
                let found = [
                    series("test-crm-service-dead-letter", "40"),
                    series("test-email-service-dead-letter", "3"),
                    series("test-crm-service-user-events", "500"),
                    series("other-crm-service-dead-letter", "6000"),
                ];
                (StatusCode::OK, Json(json!({ "timeSeries": found })))
            }
        }
    }

    #[tokio::test]
    async fn only_the_holders_of_the_chosen_services_count() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = Router::new().route("/v3/projects/{project}/timeSeries", get(time_series));
        tokio::spawn(axum::serve(listener, app).into_future());
        let catalog = systems::catalog().expect("a catalog");
        let ask = async |project: &str, service: Option<&str>| {
            let names = Names { project: project.to_owned(), prefix: "test-".to_owned() };
            let monitoring = Monitoring::stand_in(&url, &names).expect("a client");
            expected(&monitoring, &catalog, service).await
        };
        for (project, service, letters) in [
            ("acme", None, Some(43)),
            ("acme", Some("crm-service"), Some(40)),
            ("acme", Some("billing-service"), None),
            ("new", None, None),
        ] {
            assert_eq!(ask(project, service).await, Ok(letters), "{project} {service:?}");
        }
        let refused = ask("forbidden", None).await.expect_err("no permission");
        assert!(refused.contains("timeSeries.list denied"), "{refused}");
        // The clock jumps to the deadline as soon as the request waits.
        tokio::time::pause();
        let silent = ask("silent", None).await.expect_err("no answer");
        assert!(silent.contains("does not answer"), "{silent}");
    }
}
